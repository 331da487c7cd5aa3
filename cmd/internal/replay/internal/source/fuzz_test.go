package source

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
	"github.com/cyrusbackup/backupd/internal/mboxrd"
)

// What reading may take: each message has buffers of 64 KiB, and is read two times.
const (
	fuzzBase    = 1 << 20
	fuzzMessage = 256 << 10
	fuzzPerByte = 64
)

// FuzzMbox reads an mbox. What it finds is quoted and read again: it is the same mail.
func FuzzMbox(f *testing.F) {
	f.Add([]byte("From a@b Tue Nov 14 22:13:21 2023\nSubject: 1\n\n>From you\n>>From me\n> From\n\nFrom b\nSubject: 2\n\nx\r\nlast without end"))
	f.Add([]byte("From \n\nFrom \n\n\n"))
	f.Add([]byte("no mbox"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "m")
		write(t, path, string(b))
		limit := fuzzBase + fuzzMessage*int64(bytes.Count(b, []byte("From "))) + fuzzPerByte*int64(len(b))
		fuzztest.Within(t, 3*limit, func() {
			folders, err := Read(path, false)
			if err != nil {
				if !strings.Contains(err.Error(), path) {
					t.Fatalf("the error does not name the file: %v", err)
				}
				return
			}
			was := bodies(t, folders[0])
			quoteAll(t, path, was)
			folders, err = Read(path, false)
			if err != nil {
				t.Fatal(err)
			}
			if now := bodies(t, folders[0]); !slices.EqualFunc(was, now, sameMail) {
				t.Fatalf("%q became %q", was, now)
			}
		})
	})
}

// quoteAll writes messages as restore does.
func quoteAll(t *testing.T, path string, messages []string) {
	t.Helper()
	var b bytes.Buffer
	var q mboxrd.Quoter
	for _, m := range messages {
		b.WriteString("From x Tue Nov 14 22:13:21 2023\n")
		if err := q.Quote(&b, strings.NewReader(m)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, path, b.String())
}

// sameMail reports whether now is what an mbox keeps of was: the last line gets an end. Carriage returns before a line
// end are one.
func sameMail(was, now string) bool {
	lines := func(s string) string {
		s = strings.TrimSuffix(strings.TrimRight(s, "\r"), "\n")
		for strings.Contains(s, "\r\n") {
			s = strings.ReplaceAll(s, "\r\n", "\n")
		}
		return strings.TrimRight(s, "\r")
	}
	return lines(was) == lines(now)
}

// FuzzMaildir reads a file of a Maildir, in a folder below it.
func FuzzMaildir(f *testing.F) {
	f.Add("1700000000.M1P2.host,S=3:2,SF", ".Sent.Old", []byte("Subject: x\n\ny\n"))
	f.Add("9999999999999999999999.x", "a", []byte(""))
	f.Add(".hidden", "..", []byte("x"))
	f.Fuzz(func(t *testing.T, name, folder string, b []byte) {
		if !plainName(name) || !plainName(folder) {
			return
		}
		top := t.TempDir()
		write(t, filepath.Join(top, "cur", name), string(b))
		write(t, filepath.Join(top, folder, "new", name), string(b))
		fuzztest.Within(t, fuzzBase+4*fuzzMessage+fuzzPerByte*int64(len(b)), func() {
			folders, err := Read(top, false)
			if err != nil {
				t.Fatal(err)
			}
			for _, dir := range folders {
				for i, m := range dir.Messages {
					if m.Date < 0 || len(m.Flags) > 6 {
						t.Errorf("%q: %+v", name, m)
					}
					if got := bodies(t, dir)[i]; len(got) < len(b) {
						t.Errorf("%q became %q", b, got)
					}
				}
			}
		})
	})
}

// plainName reports whether a file can have this name, beside those that the target makes.
func plainName(s string) bool {
	return s != "" && len(s) < 200 && s != "." && s != ".." && s != "cur" && s != "new" && s != "tmp" && !strings.ContainsAny(s, "/\x00")
}

// FuzzGen parses the description of generated mail.
func FuzzGen(f *testing.F) {
	for _, s := range []string{"gen:100:2k", "gen:1:1M:7", "1:2:3:4", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		fuzztest.Within(t, 64<<10+256*int64(len(s)), func() {
			g, err := ParseGen(s)
			if err != nil {
				return
			}
			if again, err := ParseGen(fmt.Sprintf("gen:%d:%d:%d", g.Count, g.Size, g.Seed)); err != nil || again != g {
				t.Errorf("%q is %+v, and its text %+v, %v", s, g, again, err)
			}
		})
	})
}
