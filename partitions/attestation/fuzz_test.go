package attestation

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"aead.dev/minisign"
	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

// FuzzList reads the lines of a list, as they are after decompression. An accepted list is written again, and read
// as the same.
func FuzzList(f *testing.F) {
	w := newWorld(f, "anne", "bob")
	w.seal()
	w.commit("anne")
	w.store.Lose("backups/user/bob/backup.json")
	w.store.Lose("backups/user/bob/log/0000000000000001.tar.zst")
	var found findings
	if _, err := Seal(f.Context(), w.config(w.store), w.key, w.options(&found)); err != nil {
		f.Fatal(err)
	}
	for _, key := range w.store.Keys(Prefix) {
		if _, sum, _ := parseKey(key); sum != "" {
			f.Add(decompressed(f, w.store.Bytes(key)))
		}
	}
	f.Add([]byte(`{"version":1,"number":1}` + "\n" + `{"end":{"backups":0,"gone":0,"unreadable":0,"findings":0}}` + "\n"))
	f.Fuzz(func(t *testing.T, lines []byte) {
		fuzztest.Within(t, 8<<20+20*int64(len(lines)), func() {
			h, entries, err := readLines(compressed(t, lines))
			if err != nil {
				return
			}
			out, err := newWriter(h)
			if err != nil {
				t.Fatal(err)
			}
			defer out.close()
			for i := range entries {
				if err := out.add(&entries[i]); err != nil {
					t.Fatalf("%+v was read, and cannot be written: %v", entries[i], err)
				}
			}
			list, err := out.sign(w.key)
			if err != nil {
				t.Fatal(err)
			}
			again, same, err := readLines(list.Body)
			if err != nil || text(t, again, same) != text(t, h, entries) {
				t.Errorf("%v: %s became %s", err, text(t, h, entries), text(t, again, same))
			}
		})
	})
}

func readLines(r io.Reader) (h Header, entries []Entry, err error) {
	h, err = parseList(r, func(e *Entry) bool { entries = append(entries, *e); return true })
	return h, entries, err
}

func text(t testing.TB, h Header, entries []Entry) string {
	b, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	first, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	return string(first) + string(b)
}

func compressed(t testing.TB, b []byte) io.Reader {
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<10), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func decompressed(t testing.TB, b []byte) []byte {
	z, err := zstd.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// FuzzSignature reads a signature with its comment. Only the signature that was made is accepted, with any comment that is
// not trusted, and a comment that is accepted has one form.
func FuzzSignature(f *testing.F) {
	w := newWorld(f, "anne")
	made := w.seal().Signature
	want, err := Describe(made)
	if err != nil {
		f.Fatal(err)
	}
	_, other, err := minisign.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(made)
	f.Add(minisign.SignWithComments(other, []byte("x"), want.String(), "x"))
	f.Add(minisign.SignWithComments(w.key, []byte("x"), want.String(), "x"))
	keys := PublicKeys{Public(w.key)}
	f.Fuzz(func(t *testing.T, signature []byte) {
		fuzztest.Within(t, 1<<20+20*int64(len(signature)), func() {
			if c, err := keys.comment(signature); err == nil && c.String() != want.String() {
				t.Errorf("%q is accepted: %s", signature, c)
			}
			if c, err := Describe(signature); err == nil {
				again, err := ParseComment(c.String())
				if err != nil || again.String() != c.String() {
					t.Errorf("%s: %v, %v", c, again, err)
				}
			}
		})
	})
}
