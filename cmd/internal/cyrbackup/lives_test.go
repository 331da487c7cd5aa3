package cyrbackup

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// rita is a user whose name was reused by another person. One of her folders moved to another
// user before.
func rita(t *testing.T) *tooltest.World {
	w := tooltest.New(t, "default")
	day := time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC)
	box := func(name, uniqueid string) *tooltest.Mailbox {
		m := tooltest.NewMailbox(name)
		m.UniqueID = uniqueid
		m.Deliver(tooltest.Mail("needle of "+uniqueid, "carol@example.org", 300), day)
		return m
	}
	w.Sync(box("user.rita", "first-inbox"), box("user.rita.Sent", "first-sent"), box("user.rita.Given", "first-given"))
	w.Do(func(s *session.Session) error {
		return s.ApplyRename(t.Context(), cyrus.Rename{Old: "user.rita.Given", New: "user.berta.Given"})
	})
	w.Sync(box("user.rita", "second-inbox"))
	return w
}

// Lists and find separate the mail of two people with one name, and show the destination of a
// moved mailbox.
func TestLivesAreSeparate(t *testing.T) {
	w := rita(t)
	show := func(argv ...string) string {
		t.Helper()
		out, err := tool(t, w, append([]string{"rita"}, argv...)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	list := show("list", "mailboxes")
	first, second, ok := strings.Cut(list, "\nlife 2, from ")
	if !ok || !strings.Contains(first, "\nlife 1, up to chunk ") || !strings.Contains(first, "--life 1") || strings.Count(first, "first-") != 3 ||
		!strings.Contains(first, "user.rita.Given  [moved to user/berta ") || !strings.Contains(second, "second-inbox") || strings.Contains(second, "first-") {
		t.Errorf("list mailboxes:\n%s", list)
	}
	for _, c := range []struct{ argv, want string }{
		{"json mailboxes", `"moved_to":"user/berta","life":1`},
		{"json state", `"type":"life"`},
		{"log", "life 2 of the user begins"},
		{"find needle", "(life 1)"},
		{"--json find needle", `"life":2`},
	} {
		out := show(strings.Fields(c.argv)...)
		if plain := strings.Join(strings.Fields(out), ""); !strings.Contains(plain, strings.ReplaceAll(c.want, " ", "")) {
			t.Errorf("%s lacks %q:\n%s", c.argv, c.want, out)
		}
	}
	if out, err := tool(t, w, "berta", "list", "mailboxes"); err != nil || strings.Contains(out, "life") {
		t.Errorf("a user with one life: %q, %v", out, err)
	}
}
