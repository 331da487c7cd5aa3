package files

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/fuzztest"
	"github.com/cyrusbackup/backupd/internal/restore/filename"
)

// A reader of lines has a buffer of a megabyte, and there are three files of lines.
const (
	fuzzBase    = 16 << 20
	fuzzPerByte = 128
)

// fuzzGUID is a GUID in the seeds.
const fuzzGUID = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"

// folderWith makes a folder of a destination with these files.
func folderWith(t *testing.T, files map[string][]byte) *os.Root {
	t.Helper()
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	for _, sub := range []string{"tmp", "new", "cur"} {
		err = errors.Join(err, dir.Mkdir(sub, 0o700))
	}
	for name, b := range files {
		err = errors.Join(err, dir.WriteFile(name, b, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// FuzzExisting looks at a destination that somebody else, or an interrupted run, has left: the files with lines, the
// keywords of Dovecot, and a file with any name.
func FuzzExisting(f *testing.F) {
	const message = `{"file":"0000000007-` + fuzzGUID + `.eml","uid":7,"size":5}` + "\n"
	const place = `{"path":"Sent","name":"Sent","internal":"user.anne.Sent","uniqueid":"u"}` + "\n"
	f.Add([]byte(message), []byte(place), []byte("0 $Label1\n1 NonJunk\n"), "0000000007-"+fuzzGUID+".eml", uint8(5))
	f.Add([]byte(`{"file":"x","rest":["a"]}`+"\n{\"fi"), []byte("{\"pat\x00\x00"), []byte("26 x\n"), "1700000000."+fuzzGUID+"_1.restore,S=5:2,S", uint8(5))
	f.Add([]byte(`{"file":1}`+"\n"), []byte("foreign\n"), []byte("-1 x\n0 \n"), "1."+fuzzGUID+"_99999999999.restore,S=5", uint8(0))
	f.Fuzz(func(t *testing.T, index, places, words []byte, name string, size uint8) {
		dir := folderWith(t, map[string][]byte{filename.Messages: index, filename.Folders: places, filename.Keywords: index, keywordsFile: words})
		if plainName(name) {
			for _, path := range []string{name, "cur/" + name} {
				if err := dir.WriteFile(path, make([]byte, size), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		n := int64(len(index) + len(places) + len(words))
		fuzztest.Within(t, fuzzBase+fuzzPerByte*n, func() {
			checkHave(t, name, func() (map[cyrus.GUID]int, error) { return new(tree).peek(dir) })
			checkHave(t, name, func() (map[cyrus.GUID]int, error) { return new(maildir).peek(dir) })
			tryOrigins(t, dir)
			tryAlphabet(t, dir)
		})
	})
}

// plainName reports whether a file can have this name, beside those of a destination.
func plainName(s string) bool {
	switch s {
	case "", ".", "..", "tmp", "new", "cur", keywordsFile, filename.Messages, filename.Folders, filename.Keywords:
		return false
	}
	return len(s) < 200 && !strings.ContainsAny(s, "/\x00")
}

// checkHave checks that only a file with the GUID in its name counts as a message.
func checkHave(t *testing.T, name string, peek func() (map[cyrus.GUID]int, error)) {
	t.Helper()
	have, err := peek()
	if err != nil && !errors.Is(err, ErrExists) {
		t.Fatalf("unexpected kind of error: %v", err)
	}
	for g, n := range have {
		if n != 1 || !strings.Contains(name, g.String()) {
			t.Errorf("%d messages %s in the file %q", n, g, name)
		}
	}
}

// tryOrigins adds a mailbox to folders.ndjson, and reads it again.
func tryOrigins(t *testing.T, dir *os.Root) {
	t.Helper()
	one := origin{Path: "Other", Name: "Other", Internal: "user.anne.Other", UniqueID: "v"}
	for range 2 {
		o, err := openOrigins(dir)
		if err != nil {
			if !errors.Is(err, ErrExists) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		if err := errors.Join(o.add(one), o.close()); err != nil {
			t.Fatal(err)
		}
		if !o.known[one] {
			t.Fatal("the mailbox is unknown")
		}
	}
}

// tryAlphabet adds a keyword, and reads the list again.
func tryAlphabet(t *testing.T, dir *os.Root) {
	t.Helper()
	a, err := readAlphabet(dir)
	if err != nil {
		return // not our file: nothing is written
	}
	letter, ok := a.letter("$Fuzz")
	if !ok {
		return
	}
	if err := a.write(dir); err != nil {
		t.Fatal(err)
	}
	again, err := readAlphabet(dir)
	if err != nil {
		t.Fatal(err)
	}
	if l, _ := again.letter("$Fuzz"); l != letter {
		t.Errorf("the letter %c became %c", letter, l)
	}
}
