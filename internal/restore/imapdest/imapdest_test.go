package imapdest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"github.com/cyrusbackup/backupd/internal/restore/imapdest"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
)

func TestRestore(t *testing.T) {
	t.Parallel()
	b := restoretest.New(t, "anne")
	b.Box("user.anne").Deliver(restoretest.Mail("one"), 1600000000, `\Seen`, "$Label1")
	b.Boxes[0].Deliver("Subject: no id\r\n\r\n", 1600000001)
	b.Boxes[0].Deliver("Subject: no id\r\n\r\n", 1600000002)
	b.Box("user.anne.Entw&APw-rfe.a^b").Deliver(restoretest.Mail("two"), 1600000003, `\Flagged`)
	b.Sync()
	s := new(server).start(t)
	for turn, added := range []int{4, 4, 0, 0} { // a dry run reports what the next run does
		r, err := s.restore(b, "", turn%2 == 0)
		if err != nil || r.Added != added || r.There != 4-added || len(r.problems) != 0 {
			t.Errorf("turn %d: %+v, %v", turn, r, err)
		}
	}
	for name, want := range map[string][]string{
		"INBOX":        {`1600000000 $label1 \seen`, "1600000001 ", "1600000002 "},
		"Entwürfe/a.b": {`1600000003 \flagged`},
	} {
		var got []string
		flags := s.flagsOf(name)
		for i, m := range s.fetch(name) {
			got = append(got, fmt.Sprint(m.InternalDate.Unix(), " ", flags[i]))
		}
		same(t, got, want)
	}
}

// Dates that no server accepts lose no message.
func TestOddDates(t *testing.T) {
	t.Parallel()
	b := restoretest.New(t, "anne")
	x := b.Box("user.anne")
	for _, date := range []int64{0, -86400, 1 << 34, 1 << 62, 1600000000} {
		x.Deliver(restoretest.Mail(fmt.Sprint(date)), date)
	}
	b.Sync()
	s := new(server).start(t)
	r := s.wants(b, t.TempDir(), 5, 0, 0)
	if !slices.ContainsFunc(r.lines, func(l string) bool { return strings.Contains(l, "3 messages with another date") }) {
		t.Errorf("no line about changed dates: %q", r.lines)
	}
	s.wants(b, "", 0, 5, 0)
}

func TestParseLocation(t *testing.T) {
	for _, s := range []string{"imap://host/", "imap://a:secret@host/", "http://a@host/", "imap://a@host/?x=y", "imaps://a@host/?tls=no"} {
		if l, err := imapdest.ParseLocation(s); err == nil {
			t.Errorf("%s: %+v, want an error", s, l)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error has the password", s)
		}
	}
	l, err := imapdest.ParseLocation("imaps://a%40b@host/In/Here?authuser=adm")
	if err != nil || l.User != "a@b" || l.Addr != "host:993" || l.Folder != "In/Here" || !l.TLS || l.AuthUser != "adm" {
		t.Errorf("%+v, %v", l, err)
	}
}

// A folder that the server refuses is reported, and the others are restored.
func TestRefusedFolder(t *testing.T) {
	b := withFolders(t, "a", "b", "c")
	s := (&server{create: func(name string) error {
		if name == "b" {
			return &imap.Error{Type: imap.StatusResponseTypeNo, Text: "no such name here"}
		}
		return nil
	}}).start(t)
	r := s.wants(b, "", 2, 0, 1)
	if r.Folders != 2 || !strings.Contains(r.problems[0], "user.anne.b") {
		t.Errorf("%d folders, %q", r.Folders, r.problems)
	}
}

// A folder called INBOX below the INBOX is a different folder.
func TestInboxBelowInbox(t *testing.T) {
	t.Parallel()
	b := restoretest.New(t, "anne")
	b.Box("user.anne").Deliver(restoretest.Mail("in"), 1600000000)
	b.Box("user.anne.Inbox").Deliver(restoretest.Mail("below"), 1600000000)
	b.Sync()
	s := new(server).start(t)
	s.wants(b, "", 2, 0, 0)
	same(t, s.folders(), sorted("INBOX", "Inbox-94835ea2"))
}
