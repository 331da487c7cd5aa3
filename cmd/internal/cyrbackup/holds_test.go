package cyrbackup

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Where cyr_backup shows which moments a backup has, it also shows that nothing is removed from it.
func TestHoldIsShown(t *testing.T) {
	w := story(t)
	shows := func(text string) {
		t.Helper()
		for _, argv := range []string{"anne list chunks", "anne list all"} {
			if out, err := tool(t, w, strings.Fields(argv)...); err != nil || strings.Count(out, "is on hold") != strings.Count(text, "is on hold") || !strings.Contains(out, text) {
				t.Errorf("%s: %v, want %q:\n%s", argv, err, text, out)
			}
		}
	}
	shows("")
	f, err := repository.Find(t.Context(), w.Bucket("").Partitions, repository.UserName("anne"))
	if err != nil {
		t.Fatal(err)
	}
	x := repository.Hold{Kind: repository.HoldPlaced, By: "root on mx1", Reason: "case 4711"}
	if err := f.PlaceHold(t.Context(), x, func() time.Time { return w.Now }); err != nil {
		t.Fatal(err)
	}
	shows("cyr_backup: anne is on hold, nothing is removed from it: placed by root on mx1 since ")
}
