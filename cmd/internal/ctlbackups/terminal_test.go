package ctlbackups

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/internal/visible"
)

// No output of a command contains control characters, or a line made by a stranger.
func TestNothingReachesTheTerminal(t *testing.T) {
	const evil = "x\x1b[2J\u009b31m\u202egpj\u2066\nctl_backups: all is well\r\a\x7f"
	w := tooltest.New(t, "default")
	m := tooltest.NewMailbox("user." + evil)
	m.Deliver(tooltest.Mail("s", "a@b", 9000), time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC))
	w.Sync(m)
	check := func(argv ...string) {
		t.Helper()
		out, err := tool(t, w, argv...)
		if err != nil {
			out += visible.Text(err.Error())
		}
		if out == "" {
			t.Errorf("%q: no output", argv)
		}
		for line := range strings.Lines(out) {
			line = strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "\t", " ")
			if visible.Text(line) != line || strings.HasPrefix(line, "ctl_backups: all is well") {
				t.Errorf("%q: %q", argv, line)
			}
		}
	}
	for _, argv := range [][]string{{"list"}, {"-j", "list"}, {"stat", "-A"}, {"-j", "stat", "-A"}, {"-v", "verify", "-A"}, {"-j", "verify", "-A"},
		{"verify", evil}, {"reindex", evil}, {"list", "none" + evil}, {"lock", "-x", "true", evil}, {evil}, {"-D", "list", evil}} {
		check(argv...)
	}
	for key := range w.Keys("packs/") {
		w.Damage(key)
	}
	check("verify", "-A")
	check("verify", "--repair", "-n", evil)
	check("set-aside", evil)
	check("list", "-A")
}
