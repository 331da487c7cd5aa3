package ctlbackups

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
)

// -t reports a backup whose newest commit has a store time in the future: it uses the clock of
// the host that wrote the commit.
func TestStaleWithStoreTimeAhead(t *testing.T) {
	w := tooltest.New(t, "default")
	w.Ahead = 300 * 24 * time.Hour
	m := tooltest.NewMailbox("user.anne")
	w.Sync(m)
	w.Ahead = 0
	m.Deliver(tooltest.Mail("a", "bob@example.org", 300), w.Now)
	w.Sync(m)
	if out, err := tool(t, w, "list", "-t", "48"); err != nil || !strings.HasPrefix(out, "stderr: ctl_backups: warning: anne: the store time of commit 2") {
		t.Errorf("of a fresh backup: %q, %v", out, err)
	}
	w.Now = w.Now.Add(49 * time.Hour)
	if out, err := tool(t, w, "list", "-t", "48"); err != nil || !strings.HasPrefix(out, "2026-11-20 12:02:00 +0000\t") || !strings.Contains(out, "too far ahead") {
		t.Errorf("of a stale backup: %q, %v", out, err)
	}
	if out, err := tool(t, w, "stat", "anne"); err != nil || !strings.Contains(out, "\t2026-11-20 12:02:00 +0000\n") {
		t.Errorf("stat: %q, %v", out, err)
	}
}
