package imapdest_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/emersion/go-imap/v2"

	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
)

func withFolders(t *testing.T, names ...string) *restoretest.Backup {
	t.Helper()
	t.Parallel()
	b := restoretest.New(t, "anne")
	for i, n := range names {
		b.Box("user.anne."+n).Deliver(restoretest.Mail(n), 1600000000+int64(i))
	}
	b.Sync()
	return b
}

// folders returns the names of the folders with messages.
func (s *server) folders() []string {
	s.t.Helper()
	list, err := s.client().List("", "*", nil).Collect()
	if err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, l := range list {
		if len(s.fetch(l.Mailbox)) == 1 {
			out = append(out, l.Mailbox)
		}
	}
	slices.Sort(out)
	return out
}

// A name that the server refuses is replaced by a plain one, the same in each run. A dry run
// reports that if the server does. Different names stay different.
func TestReplacedName(t *testing.T) {
	names := []string{"ok", "a%b", "a*b", "a_b", strings.Repeat("ü*", 100), strings.Repeat("ü%", 100), "x*y.child"}
	b := withFolders(t, names...)
	refuse := func(name string) error {
		if strings.ContainsAny(name, "%*") || len(name) > 255 {
			return &imap.Error{Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeCannot, Text: "Invalid mailbox name"}
		}
		return nil
	}
	s := (&server{create: refuse, status: refuse}).start(t)
	for turn, added := range []int{7, 7, 0, 0} {
		r, err := s.restore(b, "", turn%2 == 0)
		if err != nil || r.Added != added || len(r.problems) != 0 || r.Folders != 7 {
			t.Errorf("turn %d: %+v, %v", turn, r.Sums, err)
		}
		said := slices.DeleteFunc(r.lines, func(l string) bool { return !strings.Contains(l, "(Invalid mailbox name): restored to ") })
		if len(said) != 5 {
			t.Errorf("turn %d: %d names reported as replaced", turn, len(said))
		}
	}
	got := s.folders()
	for _, want := range []string{"a_b", "ok"} {
		if !slices.Contains(got, want) {
			t.Errorf("no folder %s in %q", want, got)
		}
	}
	for _, name := range got {
		if !utf8.ValidString(name) || len(name) > 180 {
			t.Errorf("folder %q", name)
		}
	}
	if len(got) != 7 {
		t.Errorf("folders %q", got)
	}
}

// The server's delimiter within a name does not mix the folder with another.
func TestNameWithDelimiter(t *testing.T) {
	b := withFolders(t, "a/b", "a_b", "a", "a.b")
	s := new(server).start(t)
	s.wants(b, "", 4, 0, 0)
	same(t, s.folders(), sorted("a", "a/b", "a_b", "a_b-c14cddc0"))
}
