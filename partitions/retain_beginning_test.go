package partitions_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// The checkpoint that retention leaves at the beginning of the log is the only source of the state
// there. If it is lost, an older moment that is kept does not replace it: verify reports the loss, a
// repair writes no checkpoint, and a host waits for a person, who restores the object.
func TestLostBeginningAfterRetention(t *testing.T) {
	for name, damage := range map[string]func(*memstore.Store, string){
		"lost": (*memstore.Store).Lose,
		"cut":  func(s *memstore.Store, key string) { s.Truncate(key, 100) },
	} {
		for kept, daily := range map[string]int{"alone": 0, "beside older moments": 4} {
			t.Run(name+" "+kept, func(t *testing.T) {
				t.Parallel()
				lostBeginning(t, damage, daily)
			})
		}
	}
}

func lostBeginning(t *testing.T, damage func(*memstore.Store, string), daily int) {
	a := newAged(t)
	h, box := a.host(), newSource("user.anne")
	a.mail(h, box, 20)
	mergeLog(t, a.store, "user/anne", 1, 12)
	a.pass(49 * time.Hour)
	done := a.retainBy(maintenance.Policy{Keep: 5 * 24 * time.Hour, LogMinAge: 48 * time.Hour, Daily: daily})
	left := checkpoints(t, a.store, "user/anne")
	if done.Cut.Number == 0 || left[0] != done.Cut.Number || (len(left) > 1) != (daily > 0) {
		t.Fatalf("%+v, checkpoints %v", done, left)
	}
	before := a.store.Snapshot()
	damage(a.store, history.CheckpointKey("user/anne", done.Cut.Number))
	log := history.Log{Store: a.store, Backup: "user/anne"}
	newest, err := log.Newest(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if problems, _ := verified(t, a.store, false); !strings.Contains(strings.Join(problems, "\n"), "retention has removed the beginning of the log") {
		t.Errorf("verify: %q", problems)
	}
	fresh := a.host()
	c := fresh.client()
	if _, _, err := c.getUser("anne"); err == nil {
		t.Error("a host without the beginning of the log answers")
	}
	c.s.Close()
	a.repairs()
	if got := checkpoints(t, a.store, "user/anne"); len(got) > 0 && got[0] > done.Cut.Number {
		t.Errorf("a repair has written checkpoint %d without the beginning of the log", got[0])
	}
	if m, err := history.Load(t.Context(), a.store, "user/anne", history.Moment{Tolerant: true}); err != nil || len(m.Bridged()) > 0 {
		t.Errorf("commits after %d are bridged: %v", newest, err)
	}
	a.store.Rollback(before, history.CheckpointKey("user/anne", done.Cut.Number), true)
	checkpoint(t, a.store)
	damage(a.store, history.CheckpointKey("user/anne", done.Cut.Number))
	if problems, _ := verified(t, a.store, false); len(problems) == 0 {
		t.Error("verify does not report the loss beside a newer checkpoint")
	}
	a.store.Rollback(before, history.CheckpointKey("user/anne", done.Cut.Number), true)
	fresh.expectSame("anne", box)
	fresh.checkIndex("anne", box)
	if problems, _ := verified(t, a.store, false); len(problems) > 0 {
		t.Errorf("verify: %q", problems)
	}
}

// repairs runs ctl_backups verify --repair.
func (a *aged) repairs() {
	a.t.Helper()
	p := repository.Config{Name: "p0", Store: a.store}
	f, err := repository.FindPath(a.t.Context(), p, "user/anne")
	if err == nil {
		_, err = verify.Repair(a.t.Context(), f, verify.RepairOptions{
			Lock: repository.LockOptions{Owner: "test", Host: "tool", Now: a.clock}, Others: []repository.Config{p},
			Problem: func(p verify.Problem) { a.t.Logf("found: %s", p) }, Report: func(c verify.Change) { a.t.Logf("%s", c) },
		})
	}
	if err != nil {
		a.t.Error(err)
	}
}
