package cyrbackup

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
)

// The clock of the store was 300 days ahead when the backup was created, and all later commits
// carry that time. cyr_backup uses the host's clock, and warns.
func TestStoreThatWasAhead(t *testing.T) {
	w := tooltest.New(t, "default")
	w.Ahead = 300 * 24 * time.Hour
	m := tooltest.NewMailbox("user.anne")
	for i := range 3 { // at 12:01, 12:02, 12:03
		m.Deliver(tooltest.Mail(strings.Repeat("x", i), "bob@example.org", 300), w.Now)
		w.Sync(m)
		w.Ahead = 0
	}
	const doubt = "stderr: cyr_backup: warning: the store times of commits 1 to 3 are too far ahead and ignored: using the clocks of the hosts that wrote them instead\n"
	for _, c := range []struct {
		argv []string
		want []string
	}{
		{[]string{"anne", "log"}, []string{"      3  2026-11-20 12:03:00 +0000  ", doubt}},
		{[]string{"anne", "log", "--json"}, []string{`{"number":2,"time":"2026-11-20T12:02:00Z","store_time":"2027-09-16T12:01:00Z",`, doubt}},
		{[]string{"anne", "log", "--until", "2026-11-20 12:01"}, []string{"      1  2026-11-20 12:01:00 +0000  ", "too far ahead"}},
		{[]string{"anne", "log", "--since", "2026-11-20 12:03"}, []string{"      3  2026-11-20 12:03:00 +0000  ", doubt}},
		{[]string{"anne", "list", "chunks"}, []string{"2026-11-20 12:03:00 +0000  2026-11-20 12:03:00 +0000\n", doubt}},
		{[]string{"anne", "show", "chunks", "3"}, []string{"time:\t2026-11-20 12:03:00 +0000\n", doubt, "the store time of commit 3 is"}},
		{[]string{"anne", "--at", "2026-11-20 12:02", "list", "mailboxes"}, []string{"user.anne", "commits 1 to 2"}},
		{[]string{"anne", "--at", "2026-11-20 11:00", "list", "mailboxes"}, nil},
		{[]string{"anne", "diff", "--from", "2026-11-20 12:02"}, []string{"+ message user.anne uid 3 ", doubt}},
	} {
		out, err := tool(t, w, c.argv...)
		if (err == nil) != (c.want != nil) {
			t.Errorf("%q: %v\n%s", c.argv, err, out)
		}
		if err != nil && !strings.Contains(err.Error(), "begins with commit 1 of 2026-11-20 12:01:00") {
			t.Errorf("%q: %v", c.argv, err)
		}
		for _, part := range c.want {
			if strings.Count(out, part) != 1 {
				t.Errorf("%q: want %q once in\n%s", c.argv, part, out)
			}
		}
		if strings.Contains(out, "2027") && !strings.Contains(out, "store_time") {
			t.Errorf("%q shows the store's time\n%s", c.argv, out)
		}
	}
}

// A time that a clock change repeats is accepted, with a warning that names both
// instants, wherever a time can be given.
func TestAmbiguousTimes(t *testing.T) {
	w := story(t)
	const hour = "2026-10-25 02:30 Europe/Berlin"
	for _, argv := range [][]string{
		{"anne", "log", "--since", hour}, {"anne", "diff", "--from", hour}, {"anne", "find", "since:" + hour}, {"-A", "find", "before:" + hour},
	} {
		out, err := tool(t, w, argv...)
		if err != nil || strings.Count(out, "warning") != 1 || !strings.Contains(out, "using 2026-10-25 02:30:00 +0200") || !strings.Contains(out, `"2026-10-25 02:30:00 +0100"`) {
			t.Errorf("%q: %v\n%s", argv, err, out)
		}
	}
}
