package cyrbackup

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/visible"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// evil is an attack on a terminal: escape sequences, one of them a single character, in UTF-8 and
// as a byte, another direction of text, and a new line.
const evil = "\x1b[2J\u009b31m\x9b31m\u202egpj\u2066\ncyr_backup: all is well\r\a\x7f"

// hostile is a user with evil in all names and texts.
func hostile(t *testing.T) *tooltest.World {
	w := tooltest.New(t, "default")
	inbox := tooltest.NewMailbox("user.anne")
	odd := tooltest.NewMailbox("user.anne.x" + evil)
	odd.UniqueID = strings.Repeat("e", 24)
	oneLine := strings.NewReplacer("\n", " ", "\r", " ").Replace(evil)
	for _, m := range []*tooltest.Mailbox{inbox, odd} {
		m.Deliver([]byte("From: "+oneLine+" <x@y>\r\nSubject: needle "+oneLine+"\r\n"+oneLine+": x\r\n\r\nx\r\n"), time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC))
	}
	inbox.Flag(1, "key"+oneLine)
	w.Sync(inbox, odd)
	value := evil
	w.Do(func(s *session.Session) error { return s.ApplySub(t.Context(), "anne", odd.Name, true) })
	w.Do(func(s *session.Session) error {
		return s.ApplySieve(t.Context(), cyrus.Sieve{UserID: "anne", Filename: evil, LastUpdate: 5, Content: evil})
	})
	w.Do(func(s *session.Session) error {
		return s.ApplyAnnotation(t.Context(), cyrus.MailboxAnnotation{Mailbox: "user.anne", Entry: "/comment" + oneLine, UserID: "anne", Value: &value})
	})
	odd.Fields = []dlist.Pair{}
	w.Do(func(s *session.Session) error {
		return s.ApplyRename(t.Context(), cyrus.Rename{Old: odd.Name, New: odd.Name + "2"})
	})
	inbox.Flag(1, "other"+oneLine)
	inbox.Expunge(1)
	w.Sync(inbox)
	return w
}

// No output of a command contains control characters, or a line that looks like a line of the
// program. JSON has the original text, escaped.
func TestNothingReachesTheTerminal(t *testing.T) {
	w := hostile(t)
	guid := guidOf(t, w)
	odd := "user.anne.x" + evil + "2"
	for _, argv := range [][]string{
		{"list", "mailboxes"}, {"-v", "list", "mailboxes"}, {"list", "messages"}, {"list", "chunks"}, {"list", "all"},
		{"show", "mailboxes", odd}, {"show", "mailboxes", "user.anne", "none" + evil}, {"show", "messages", guid}, {"show", "chunks", "1", "2", "3", "4", "5", "6"},
		{"log"}, {"-v", "log"}, {"--json", "log"}, {"log", odd}, {"log", "none" + evil},
		{"diff", "--from", "2026-11-19"}, {"diff", "--from", "2026-11-20 12:02"}, {"--json", "diff", "--from", "2026-11-19"},
		{"find", "needle"}, {"--json", "find", "needle"}, {"find", "none" + evil},
		{"json", "mailboxes"}, {"json", "messages"}, {"json", "chunks"}, {"json", "headers", guid}, {"json", "state"}, {"json", "bodies"},
		{"list" + evil}, {"find", "a" + evil + ":x"}, {"--at", evil, "find", "x"}, {"show", "messages", evil},
	} {
		out, err := tool(t, w, append([]string{"anne"}, argv...)...)
		if err != nil {
			out += visible.Text(err.Error())
		}
		for line := range strings.Lines(out) {
			line = strings.TrimRight(line, "\r\n")
			if visible.Text(strings.ReplaceAll(line, "\t", " ")) != strings.ReplaceAll(line, "\t", " ") {
				t.Errorf("%q: %q", argv, line)
			}
			if strings.HasPrefix(line, "cyr_backup: all is well") {
				t.Errorf("%q: a stranger has written a line of the program's", argv)
			}
		}
	}
	out, err := tool(t, w, "anne", "--json", "find", "needle", "mailbox:user.anne.x*")
	var h struct{ MBoxName string }
	if err != nil || json.Unmarshal([]byte(out), &h) != nil || !strings.Contains(h.MBoxName, "\x1b[2J\u009b31m") {
		t.Errorf("%v: %s became %q", err, out, h.MBoxName)
	}
}

// guidOf returns the GUID of the only message.
func guidOf(t *testing.T, w *tooltest.World) string {
	t.Helper()
	out, err := tool(t, w, "anne", "list", "messages")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(out)[0]
}
