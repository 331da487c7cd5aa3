package erasure_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// tryFinish collects and ends the erasures that are due, like compact.
func (w *world) tryFinish() ([]erasure.Settled, error) {
	open, err := erasure.Open(w.t.Context(), w.config())
	if err != nil {
		return nil, err
	}
	var due []*repository.Erasure
	for _, e := range open {
		if is, _ := erasure.Due(e, w.now); is || e.State == repository.ErasureDone {
			due = append(due, e)
		}
	}
	due, w.unlisted = erasure.Listed(w.t.Context(), w.config(), due)
	if err := erasure.Sweep(w.t.Context(), w.config(), due, w.lock()); err != nil {
		return nil, err
	}
	o := w.collectOptions()
	o.Erase = erasure.Packs(w.t.Context(), w.config(), due)
	r, err := collection.Collect(w.t.Context(), w.config(), o)
	if err != nil {
		return nil, err
	}
	return erasure.Settle(w.t.Context(), w.config(), due, r, w.lock())
}

func (w *world) finish() []erasure.Settled {
	w.t.Helper()
	s, err := w.tryFinish()
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// gone checks that nothing of anne is left but the record, and that the others are complete.
func (w *world) gone() {
	w.t.Helper()
	if left := w.needles(); len(left) > 0 {
		w.t.Errorf("the needle is in %q", left)
	}
	for _, key := range w.mem.Keys("erased/") {
		if strings.HasSuffix(key, ".packs.zst") {
			w.t.Errorf("%s is left", key)
		}
	}
	for _, e := range w.records() {
		if e.State != repository.ErasureDone {
			w.t.Errorf("the record is %s", e.State)
		}
	}
	w.check("bert", 103, 104)
}

// After the grace no object and no former version has anything of the backup. A message that another
// user shares is intact.
func TestNeedle(t *testing.T) {
	w := newWorld(t)
	private, mixed := w.content()
	// Bodies of anne's in a pack that was rewritten before, whose former version exists.
	w.later(hour)
	w.erase()
	w.later(erasure.Grace - time.Minute)
	if w.finish(); !w.has(private) || !w.has(mixed) {
		t.Fatal("packs were removed before the grace")
	}
	w.later(2 * time.Minute)
	s := w.finish()
	if len(s) != 1 || s[0].State != repository.ErasureDone || s[0].Left != 0 {
		t.Errorf("%+v", s)
	}
	w.gone()
	w.later(day)
	if s := w.finish(); len(s) != 0 {
		t.Errorf("again: %+v", s)
	}
	w.gone()
}

// Each request of the end fails in turn, without effect or without an answer. Another night
// completes it.
func TestEachRequestOfTheEndFails(t *testing.T) {
	for _, how := range []string{"before", "after"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			n := 0
			for more := true; more; n += stride() {
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					w := newWorld(t)
					w.content()
					w.erase()
					w.later(erasure.Grace + time.Minute)
					f := faultstore.New(w.mem)
					w.store = f
					f.Add(lost(n, how == "after"))
					_, _ = w.tryFinish()
					more = f.Struck() > 0
					f.Clear()
					w.store = w.mem
					for range 2 {
						w.later(day + hour)
						w.finish()
					}
					w.gone()
				})
			}
			if n < 50 {
				t.Errorf("only %d requests", n)
			}
		})
	}
}

// A delayed request puts an object in the place of a copy: the end of the erasure removes it.
func TestLateObject(t *testing.T) {
	w := newWorld(t)
	w.content()
	w.erase()
	late := w.open()[0].Copies[0] + "/log/0000000000000001.tar.zst"
	w.put(late, []byte(needle))
	w.later(erasure.Grace + time.Minute)
	w.finish()
	w.gone()
}

// The list of condemned packs is lost: the packs are condemned again, and removed later.
func TestListIsLost(t *testing.T) {
	w := newWorld(t)
	w.content()
	w.erase()
	w.mem.Lose("condemned.json")
	w.later(erasure.Grace + time.Minute)
	if s := w.finish(); len(s) != 1 || s[0].State != repository.ErasurePending || s[0].Left != 2 {
		t.Errorf("%+v", s)
	}
	w.check("bert", 103, 104)
	w.later(erasure.Grace + time.Minute)
	w.finish()
	w.gone()
}

// What the bucket retains is removed when it may be.
func TestRetained(t *testing.T) {
	w := newWorld(t)
	private, _ := w.content()
	until := w.now.Add(10 * day)
	w.mem.Retain(private, until)
	w.mem.Retain("backups/user/anne/log/0000000000000001.tar.zst", until)
	w.erase()
	if r := w.open()[0]; !r.Retained.Equal(until) || r.State != repository.ErasurePending {
		t.Errorf("%+v", r)
	}
	w.later(erasure.Grace + time.Minute)
	s := w.finish()
	if len(s) != 1 || s[0].State != repository.ErasurePending || !s[0].Retained.Equal(until) {
		t.Errorf("%+v", s)
	}
	if w.has(private) {
		t.Error("the retained pack is visible")
	}
	w.later(day)
	w.finish()
	w.check("bert", 103, 104)
	w.later(10 * day)
	w.finish()
	w.gone()
}

// Packs of a damaged object are not on record. They are orphans, which collection removes.
func TestDamagedCopy(t *testing.T) {
	w := newWorld(t)
	private, mixed := w.content()
	w.mem.Flip("backups/user/anne/log/0000000000000002.tar.zst", 40)
	done := w.erase()
	if len(done) != 1 || done[0].Unknown != 1 || len(done[0].Unread) != 1 || done[0].Packs != 1 {
		t.Errorf("%+v", done)
	}
	w.later(erasure.Grace + time.Minute)
	w.finish()
	if w.has(private) || !w.has(mixed) {
		t.Errorf("private %v, mixed %v", w.has(private), w.has(mixed))
	}
	w.check("bert", 103, 104)
}

// A former version of a pack that an earlier rewrite has removed goes, too.
func TestFormerPack(t *testing.T) {
	w := newWorld(t)
	private, mixed := w.content()
	w.condemn(private, mixed)
	w.later(2 * day)
	w.finish() // rewrites both, because they are used
	w.later(day)
	w.finish() // and removes them
	if w.has(mixed) || !slices.Contains(w.needles(), mixed) {
		t.Fatal("the pack was not rewritten")
	}
	w.erase()
	w.later(erasure.Grace + time.Minute)
	w.finish()
	w.gone()
}
