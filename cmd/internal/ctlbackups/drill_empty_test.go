package ctlbackups

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// leavers adds backups of users who were deleted: they have only deleted mailboxes.
func leavers(t *testing.T, w *tooltest.World, n int) {
	t.Helper()
	for i := range n {
		m := tooltest.NewMailbox(fmt.Sprintf("DELETED.user.gone%d.6A0E6F00", i))
		m.Deliver(tooltest.Mail("of a leaver", "carol@example.org", 300), w.Now)
		w.Sync(m)
	}
}

// A backup with only deleted mailboxes proves nothing: it is not counted, and others are drawn.
func TestDrillOfLeavers(t *testing.T) {
	w := two(t)
	leavers(t, w, 6)
	_, addr, conf := intoServer(t)
	for _, to := range [][]string{{"--to", addr}, {"--scratch", t.TempDir()}} {
		for _, sample := range [][]string{{"--users", "2"}, {"--users", "8"}} {
			out, err := toolWith(t, w, conf, append(append([]string{"drill"}, sample...), to...)...)
			if err != nil || strings.Count(out, ": ok: 9 messages") != 2 || strings.Contains(out, "gone") || !strings.Contains(out, "2 backups, 18 messages") {
				t.Errorf("%v %v: %v\n%s", sample, to, err, out)
			}
			if r := drillRecord(t, w); r.Backups != 2 || r.Messages != 18 || r.Result != repository.RunOK {
				t.Errorf("%+v", r)
			}
		}
		out, err := toolWith(t, w, conf, append([]string{"drill", "gone0", "bob"}, to...)...)
		if err != nil || !strings.Contains(out, "drill gone0: nothing to restore: the backup has no mailbox, or only deleted ones\n") || strings.Contains(out, "2 backups") {
			t.Errorf("%v\n%s", err, out)
		}
	}
	out, err := toolWith(t, w, conf, "drill", "-j", "gone1")
	if err != nil || !strings.Contains(out, `"status": "nothing to restore"`) {
		t.Errorf("%v\n%s", err, out)
	}
}

// With only leavers, no drill takes place, and none is recorded.
func TestDrillOfLeaversOnly(t *testing.T) {
	w := tooltest.New(t, "default")
	leavers(t, w, 3)
	for _, argv := range [][]string{{"drill"}, {"drill", "--share", "1%"}} {
		out, err := tool(t, w, append(argv, "--scratch", t.TempDir())...)
		if err != nil || out != "nothing was restored: none of 3 backups that were drawn has a mailbox, except deleted ones\n" {
			t.Errorf("%v: %v\n%s", argv, err, out)
		}
		if r, err := repository.LastRun(t.Context(), w.Parts[0].Store, repository.RunDrill); !errors.Is(err, objstore.ErrNotExist) {
			t.Errorf("%+v, %v", r, err)
		}
	}
}
