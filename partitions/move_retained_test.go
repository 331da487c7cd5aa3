package partitions_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/transfer"
)

// A copy of a backup ends long before the commits that retention has left: a move back to its partition,
// and another export to its repository, continue it nevertheless. This is also true if the copy ends
// immediately before them.
func TestCopyThatRetentionHasOvertaken(t *testing.T) {
	for name, c := range map[string]struct {
		days    int
		cut     uint64
		missing bool
	}{"commits are missing between them": {30, 20, true}, "none is missing": {8, 5, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAged(t)
			other, out := memstore.New(a.clock), memstore.New(a.clock)
			parts := []repository.Config{{Name: "p0", Location: "memory", Store: a.store}, {Name: "p1", Location: "memory", Store: other}}
			with := func(o *partitions.Options) { o.Now, o.NoCheckpoints = a.clock, true }
			box := newSource("user.anne")
			first := newHostWith(t, with, other)
			a.mail(first, box, 3)
			first.stop()
			h := newHostWith(t, with, a.store, other)
			h.expectSame("anne", box)
			move := func(to string) {
				t.Helper()
				dest, err := h.set.Partition(to)
				if err != nil {
					t.Fatal(err)
				}
				lock := repository.LockOptions{Owner: "test", Host: "tool", Now: a.clock}
				if _, err := transfer.Move(t.Context(), parts, repository.UserName("anne"), dest, lock, nil); err != nil {
					t.Fatalf("move to %s: %v", to, err)
				}
				h.expectSame("anne", box)
			}
			export := func() {
				t.Helper()
				f, err := repository.Find(t.Context(), parts, repository.UserName("anne"))
				if err != nil {
					t.Fatal(err)
				}
				e := newHostWith(t, with, out)
				defer e.stop()
				if _, err := transfer.Copy(t.Context(), f, e.set.Partitions()[0], nil); err != nil {
					t.Fatalf("export: %v", err)
				}
				checkBucket(t, out, "user/anne", box).Close()
				problems, _ := verified(t, out, false)
				for _, p := range problems {
					if !c.missing || !strings.Contains(p, "so readers ignore") {
						t.Errorf("the export: %s", p)
					}
				}
			}
			move("p0")
			export()
			a.mail(h, box, c.days)
			mergeLog(t, a.store, "user/anne", 1, c.cut)
			a.pass(49 * time.Hour)
			if done := a.retain(7 * 24 * time.Hour); done.Cut.Number < c.cut {
				t.Fatalf("%+v: this test no longer covers its case", done)
			}
			end, err := (&history.Log{Store: out, Backup: "user/anne"}).Newest(t.Context(), 0)
			begin, berr := (&history.Log{Store: a.store, Backup: "user/anne"}).First(t.Context())
			if err != nil || berr != nil || (begin > end+1) != c.missing {
				t.Fatalf("%v, %v: the export ends with commit %d, the log begins with %d: this test no longer covers its case", err, berr, end, begin)
			}
			export()
			move("p1")
			checkBucket(t, other, "user/anne", box).Close()
			a.mail(h, box, 2)
			h.expectSame("anne", box)
			move("p0")
			a.mail(h, box, 1)
			export()
		})
	}
}
