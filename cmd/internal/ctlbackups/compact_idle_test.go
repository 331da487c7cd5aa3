package ctlbackups

import (
	"fmt"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
)

// The requests of a night in which nothing has changed do not depend on the number of backups, also
// with a retention that is not due.
func TestCompactUnchanged(t *testing.T) {
	w := tooltest.New(t, "default")
	users := 0
	const conf = "backup_retention: 90d\n"
	night := func() map[string]int {
		return counted(w, func() {
			if out, err := toolWith(t, w, conf, "compact", "-A"); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		})
	}
	idle := func(n int) map[string]int {
		for ; users < n; users++ {
			m := tooltest.NewMailbox(fmt.Sprintf("user.u%02d", users))
			m.Deliver(tooltest.Mail(fmt.Sprint("message ", users), "carol@example.org", 300), w.Now)
			w.Sync(m)
		}
		w.Now = w.Now.AddDate(0, 0, 4)
		night()
		w.Now = w.Now.AddDate(0, 0, 1)
		return night()
	}
	few, many := idle(2), idle(12)
	if few["get"] == 0 || many["get"] != few["get"] || many["stat"] != few["stat"] || many["list"] != few["list"] || many["put"] != few["put"] {
		t.Errorf("2 backups: %v; 12 backups: %v", few, many)
	}
}
