package imapdest

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

// FuzzJournal reads the journal of a folder after its first line, or instead of it, and continues it.
func FuzzJournal(f *testing.F) {
	const guid = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"
	const first = `{"account":"anne@localhost:143","folder":"INBOX","uidvalidity":7}` + "\n"
	f.Add([]byte(`{"uid":1,"size":5,"date":1700000000,"guid":"`+guid+`"}`+"\n"+`{"guid":"`+guid+`","lacks":["$x"]}`+"\n{\"ui"), true)
	f.Add([]byte(first), false)
	f.Add([]byte("[]\n"), true)
	of := folderLine{Account: "anne@localhost:143", Folder: "INBOX", UIDValidity: 7}
	f.Fuzz(func(t *testing.T, b []byte, ours bool) {
		dir := t.TempDir()
		path := journalPath(dir, of.Account, of.Folder)
		if ours {
			b = append([]byte(first), b...)
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600)); err != nil {
			t.Fatal(err)
		}
		fuzztest.Within(t, 8<<20+256*int64(len(b)), func() {
			j, err := openJournal(dir, of, true)
			if err != nil {
				t.Fatal(err)
			}
			j.add(&held{uid: 1 << 31, size: 7, guid: cyrus.GUID{1}})
			if err := j.close(); err != nil {
				t.Fatal(err)
			}
			again, err := openJournal(dir, of, false)
			if err != nil {
				t.Fatal(err)
			}
			if got := again.known[imap.UID(1<<31)]; got == nil || got.guid != (cyrus.GUID{1}) {
				t.Fatalf("the line is lost: %+v", got)
			}
			delete(again.known, 1<<31)
			delete(j.known, 1<<31)
			delete(j.sent, cyrus.GUID{1})
			if !reflect.DeepEqual(again.known, j.known) || !reflect.DeepEqual(again.sent, j.sent) {
				t.Fatalf("%v, %v became %v, %v", j.known, j.sent, again.known, again.sent)
			}
		})
	})
}

// FuzzParseLocation parses the location of an IMAP server.
func FuzzParseLocation(f *testing.F) {
	for _, s := range []string{"imap://anne@localhost/", "imaps://anne@[::1]:1993/Old/x?authuser=cyrus", "imap://anne:secret@h/", "imap://a@h?tls=no&x=y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		fuzztest.Within(t, 64<<10+512*int64(len(s)), func() {
			l, err := ParseLocation(s)
			if err != nil {
				return
			}
			if l.User == "" || !strings.Contains(l.Addr, ":") || l.TLS && l.Plain || strings.HasPrefix(l.Folder, "/") {
				t.Errorf("%q is %+v", s, l)
			}
		})
	})
}
