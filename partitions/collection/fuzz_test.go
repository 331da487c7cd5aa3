package collection

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// What reading may take: decoders and sets have buffers of some megabytes, whatever the input.
const (
	fuzzBase    = 32 << 20
	fuzzPerByte = 1 << 10
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// usesSeed returns the uncompressed uses of a backup.
func usesSeed(t testing.TB) []byte {
	w, err := newUsesWriter(noon)
	if err != nil {
		t.Fatal(err)
	}
	v := versionOf(objstore.Info{ETag: "e", Size: 7, Modified: noon})
	for _, u := range []use{
		{Object: "checkpoints/0000000000000006.tar.zst", version: v, Blocks: []Pack{{3}}},
		{Object: "log/0000000000000007.tar.zst", version: v, Packs: []Pack{{1}, {2}}, Entries: []uint32{5, 1}},
	} {
		err = errors.Join(err, w.add(&u))
	}
	err = errors.Join(err, w.finish())
	if err != nil {
		t.Fatal(err)
	}
	end, err := w.file.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := zstd.NewReader(io.NewSectionReader(w.file, 0, end))
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	b, err := io.ReadAll(dec)
	if err := errors.Join(err, w.close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// compressed returns b as a zstd frame.
func compressed(t testing.TB, b []byte) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	return enc.EncodeAll(b, nil)
}

// FuzzUses reads the uses of a backup: the lines of the input, compressed, and the input as the object.
func FuzzUses(f *testing.F) {
	seed := usesSeed(f)
	f.Add(seed)
	f.Add(compressed(f, seed))
	f.Add(seed[:len(seed)/2])
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Within(t, 2*fuzzBase+fuzzPerByte*int64(len(b)), func() {
			tryUses(t, b)
			tryUses(t, compressed(t, b))
		})
	})
}

func tryUses(t *testing.T, object []byte) {
	t.Helper()
	u, err := newUsesReader(io.NopCloser(bytes.NewReader(object)))
	if err != nil {
		if !isUseless(err) && !errors.Is(err, zstd.ErrMagicMismatch) {
			t.Fatalf("unexpected kind of error: %v", err)
		}
		return
	}
	defer u.close()
	for was := ""; !u.end; {
		if u.next.Object <= was || len(u.next.Packs) != len(u.next.Entries) {
			t.Fatalf("%+v after %q", u.next, was)
		}
		was = u.next.Object
		o := otherVersion(u.next)
		found, err := u.find(o)
		if err != nil || found != nil && found.Object != was {
			t.Fatalf("%q: found %+v, %v", was, found, err)
		}
		if err := u.advance(); err != nil {
			if !isUseless(err) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
	}
	if err := u.drain(); err != nil {
		t.Fatal(err)
	}
}

// otherVersion returns the object that a line is about, with another version.
func otherVersion(u use) object {
	return parseObject("backups/user/anne/", objstore.Info{Key: "backups/user/anne/" + u.Object, ETag: "other", Modified: noon})
}

// FuzzTotals reads collection.json.
func FuzzTotals(f *testing.F) {
	b, err := json.Marshal(Totals{Version: resultVersion, Time: noon, Backups: 3, All: Amount{2, 700}, Condemned: Amount{1, 300}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := memstore.New(nil)
		if _, err := s.Put(t.Context(), ResultKey, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		fuzztest.Within(t, 64<<10+fuzzPerByte*int64(len(b)), func() {
			totals, err := Last(t.Context(), s)
			if err != nil && (!errors.Is(err, repository.ErrVersion) || !strings.Contains(err.Error(), ResultKey)) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			if totals == nil {
				return
			}
			if err := totals.put(t.Context(), s); err != nil {
				return // a year after 9999
			}
			again, err := Last(t.Context(), s)
			if err != nil || again == nil || again.Reclaimable() != totals.Reclaimable() || again.All != totals.All {
				t.Fatalf("%+v became %+v, %v", totals, again, err)
			}
		})
	})
}

// FuzzCache reads the file with the packs of each backup.
func FuzzCache(f *testing.F) {
	name := filepath.Join(f.TempDir(), "cache")
	w, err := newCacheWriter(filepath.Dir(name), name)
	if err == nil {
		err = w.add("user/anne", [32]byte{7}, func(yield func(packUse, error) bool) {
			_ = yield(packUse{Pack{1}, 5, true, false}, nil) && yield(packUse{Pack{2}, 1, false, true}, nil)
		})
	}
	if err == nil {
		err = w.done()
	}
	b, rerr := os.ReadFile(name)
	if err := errors.Join(err, rerr); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-40])
	f.Add([]byte(cacheMagic + "\x01a" + strings.Repeat("\x00", 32) + "\xff\xff\xff\xff\xff\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(t.TempDir(), "cache")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		fuzztest.Within(t, fuzzBase+fuzzPerByte*int64(len(b)), func() {
			n := 0
			err := eachCached(name, func(_ string, packs *usageSet) error {
				for _, err := range ofAll(packs) {
					if err != nil {
						return err
					}
					n++
				}
				return nil
			})
			if err != nil && !errors.Is(err, errCache) || n > len(b)/cachedPack {
				t.Fatalf("%d packs, %v", n, err)
			}
		})
	})
}

// FuzzPack parses the key of a pack, and its hash.
func FuzzPack(f *testing.F) {
	f.Add(history.PackKey([32]byte{1}))
	f.Add("packs/ab/" + strings.Repeat("AB", 32) + ".tar.zst")
	f.Fuzz(func(t *testing.T, key string) {
		if p, err := ParsePack(key); err == nil && history.PackKey(p) != key {
			t.Errorf("%q was read as %x", key, p)
		}
		var p Pack
		if err := p.UnmarshalText([]byte(key)); err == nil {
			if text, err := p.MarshalText(); err != nil || !strings.EqualFold(string(text), key) {
				t.Errorf("%q became %q, %v", key, text, err)
			}
		}
	})
}

// FuzzRegister reads the register of the last pass: the lines of the input, compressed, and the input as the object.
func FuzzRegister(f *testing.F) {
	w, err := newRegisterWriter()
	if err != nil {
		f.Fatal(err)
	}
	defer w.close()
	v := versionOf(objstore.Info{ETag: "e", Size: 7, Modified: noon})
	for _, line := range []registered{{Backup: "user/anne-x", Commit: 1, Info: v}, {Backup: "user/anne", ID: "1", Commit: 12, Info: v, Newest: v, Random: "2", Time: noon, Missed: true}} {
		if err := w.add(&line); err != nil {
			f.Fatal(err)
		}
	}
	s := memstore.New(func() time.Time { return noon })
	if err := w.put(f.Context(), s, noon, noon); err != nil {
		f.Fatal(err)
	}
	f.Add(s.Bytes(RegisterKey))
	f.Add([]byte(`{"version":1,"time":"2026-03-01T12:00:00Z","totals":"2026-03-01T12:00:00Z","backups":1}` + "\n" + `{"backup":"user/anne","id":"1","info":{"etag":"e","size":7},"commit":2,"newest":{"etag":"f","size":8},"random":"3"}` + "\n"))
	f.Add([]byte(`{"version":2}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, object := range [][]byte{b, compressed(t, b)} {
			fuzztest.Within(t, 2*fuzzBase+fuzzPerByte*int64(len(b)), func() { tryRegister(t, object) })
		}
	})
}

// tryRegister checks that the lines can be written again, and are read as the same.
func tryRegister(t *testing.T, object []byte) {
	r, err := newRegisterReader(bytes.NewReader(object))
	if err != nil {
		if !errors.Is(err, errRegister) && !errors.Is(err, repository.ErrVersion) {
			t.Errorf("unexpected kind of error: %v", err)
		}
		return
	}
	defer r.close()
	w, err := newRegisterWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	var lines []registered
	for line := r.before("\xff"); line != nil; line = r.before("\xff") {
		if err := w.add(line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, *line)
	}
	if err := r.failure(); err != nil {
		if !errors.Is(err, errRegister) {
			t.Errorf("unexpected kind of error: %v", err)
		}
		return
	}
	s := memstore.New(func() time.Time { return noon })
	if err := w.put(t.Context(), s, r.registerHeader.Time, r.Totals); err != nil {
		t.Fatal(err)
	}
	again, err := openRegister(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer again.close()
	for _, want := range lines {
		line := again.of(want.prefix())
		if line == nil || line.ID != want.ID || line.Commit != want.Commit || line.Random != want.Random || line.Missed != want.Missed || !line.Info.same(want.Info) || !line.Newest.same(want.Newest) || !line.Time.Equal(want.Time) {
			t.Errorf("%+v, want %+v", line, want)
		}
	}
	if !again.end || again.err != nil || !again.registerHeader.Time.Equal(r.registerHeader.Time) || !again.Totals.Equal(r.Totals) {
		t.Errorf("%v, %v", again.end, again.err)
	}
}
