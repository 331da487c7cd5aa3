package maintenance_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// blocksOf returns the objects with blocks that a checkpoint names.
func (w *past) blocksOf(n uint64) map[string]bool {
	w.t.Helper()
	m, err := history.ReadCheckpoint(w.t.Context(), w.memory, anne, n)
	w.must(err)
	defer m.Close()
	out := map[string]bool{}
	for object := range m.Blocks() {
		out[object] = true
	}
	return out
}

// shortened is a backup without the beginning of its log, and with a newer checkpoint.
func shortened(t *testing.T) (w *past, cut uint64) {
	w = newPast(t)
	for _, box := range []string{"inbox", "work", "lists"} {
		w.create(box)
		w.deliver(box, 5)
	}
	for range 25 {
		w.deliver("inbox", 2)
		w.days(1)
	}
	w.merge()
	w.days(3)
	done := w.mustRetain()
	cut = done.Cut.Number
	t.Logf("%+v tip %d", done, w.tip.Number)
	for range 4 {
		w.deliver("inbox", 2)
		w.days(3)
	}
	w.checkpoint()
	return w, cut
}

// Without its beginning, a log is read from the checkpoint that retention has left there.
func TestReadShortenedLog(t *testing.T) {
	w, cut := shortened(t)
	older := w.blocksOf(cut)
	for object := range w.blocksOf(w.tip.Number) {
		if !older[object] {
			w.corrupt(object)
		}
	}
	for _, at := range []history.Moment{{FromLog: true}, {FromLog: true, Tolerant: true}, {FromLog: true, Number: w.tip.Number}} {
		m, err := w.found.Load(t.Context(), at)
		w.must(err)
		if got, gaps := w.dump(m), m.Gaps(); got != w.dumps[w.tip.Number] || len(gaps) > 0 {
			t.Errorf("%+v: gaps %v\n%s\nwant\n%s", at, gaps, got, w.dumps[w.tip.Number])
		}
		w.must(m.Close())
	}
}

func (w *past) repair() {
	w.t.Helper()
	_, err := verify.Repair(w.t.Context(), w.found, verify.RepairOptions{Lock: w.options().Lock, Others: []repository.Config{w.found.Partition}, Pack: pack.Options{},
		Problem: func(p verify.Problem) { w.t.Logf("problem: %s", p) }, Report: func(c verify.Change) { w.t.Logf("%s", c) }})
	w.t.Log(err)
}

// A repair keeps the only complete list of the mailboxes.
func TestRepairOfShortenedLog(t *testing.T) {
	w, cut := shortened(t)
	newer := w.blocksOf(w.tip.Number)
	shared := slices.Sorted(maps.Keys(w.blocksOf(cut)))
	n := 0
	for _, object := range shared {
		if newer[object] && n < 1 {
			w.corrupt(object)
			n++
		}
	}
	t.Log("damaged", n, "of", len(shared))
	w.days(1)
	w.repair()
	t.Log(w.checkpoints(), cut, w.tip.Number)
	if !slices.Contains(w.checkpoints(), cut) {
		t.Error("the checkpoint before the log was removed")
	}
	m, err := w.found.Load(t.Context(), history.Moment{Tolerant: true})
	w.must(err)
	defer m.Close()
	for _, box := range []string{"inbox", "work", "lists"} {
		if b, err := m.Mailbox(box); err != nil || b == nil {
			t.Errorf("mailbox %s is lost: %v", box, err)
		}
	}
}

// A host that has slept puts its checkpoint when retention has replaced and counted on it.
func TestLateCheckpointOfDaemon(t *testing.T) {
	w := newPast(t)
	w.create("inbox")
	for range 30 {
		w.commitWith(1, "inbox", true)
		w.days(1)
	}
	folds := map[uint64]*history.Mem{}
	for n := uint64(1); n <= w.tip.Number; n++ {
		m, err := w.found.Load(t.Context(), history.Moment{Number: n})
		w.must(err)
		defer m.Close()
		folds[n] = m
	}
	w.merge()
	w.days(3)
	cut := w.mustRetain().Cut.Number
	if cut == 0 {
		t.Fatal("nothing was removed")
	}
	_, err := folds[cut].AddCheckpoint(t.Context(), pack.Options{}, func() error { return nil })
	w.must(err)
	w.check()
	late, err := w.found.Load(t.Context(), history.Moment{})
	w.must(err)
	defer late.Close()
	stop := errors.New("late")
	if _, err = late.AddCheckpoint(t.Context(), pack.Options{}, func() error { return stop }); !errors.Is(err, stop) || len(w.checkpoints()) != 1 {
		t.Errorf("%v, checkpoints %v", err, w.checkpoints())
	}
}

// A host that has slept puts a commit whose number is in a segment. Retention never takes it for the
// last commit of what it removes.
func TestStrayCommitBeforeRetention(t *testing.T) {
	w := newPast(t)
	w.create("inbox")
	for range 30 {
		w.deliver("inbox", 1)
		w.days(1)
	}
	w.merge()
	w.days(3)
	o := w.options()
	o.DryRun = true
	plan, err := maintenance.Retain(t.Context(), w.found, nil, o)
	w.must(err)
	n := plan.Cut.Number
	before, err := w.found.Load(t.Context(), history.Moment{Number: n - 1})
	w.must(err)
	defer before.Close()
	h := history.Header{Backup: anne, Number: n, Prev: before.Tip().Hash, Time: w.times[n], Host: "h", Clock: w.now, Connection: "c", Client: "late", Random: history.NewRandom()}
	won, err := w.found.PutCommit(t.Context(), h, mailbox("stray", "user.anne.stray"))
	if err != nil || !won {
		t.Fatal(won, err)
	}
	w.days(3)
	if done, err := w.retain(); err == nil || done.Log.Objects > 0 {
		t.Errorf("%+v, %v", done, err)
	}
	m, err := w.found.Load(t.Context(), history.Moment{})
	w.must(err)
	defer m.Close()
	if got := w.dump(m); got != w.dumps[w.tip.Number] {
		t.Errorf("the state has changed:\n%s", got)
	}
}

// Damage after the beginning of a shortened log does not make the commits that retention has removed
// lost ones.
func TestDamageOfShortenedLog(t *testing.T) {
	for name, after := range map[string]uint64{"a commit before the retained event": 5, "the commit with the retained event": 7} {
		for kind, damage := range map[string]func(*past, string){
			"damaged": (*past).corrupt,
			"missing": func(w *past, key string) { w.must(w.memory.Delete(w.t.Context(), key)) },
		} {
			t.Run(name+" is "+kind, func(t *testing.T) {
				w, cut := shortened(t)
				n := cut + after
				damage(w, history.LogKey(anne, n))
				w.repair()
				m, err := w.found.Load(t.Context(), history.Moment{FromLog: true})
				w.must(err)
				defer m.Close()
				if got := m.Bridged(); len(got) != 1 || got[0].From != n || got[0].To != n {
					t.Errorf("lost %v, want commit %d", got, n)
				}
			})
		}
	}
}

// Without the checkpoint that retention leaves, nothing shows that it has removed the commits.
func TestDamageOfShortenedLogWithoutCheckpoint(t *testing.T) {
	w, cut := shortened(t)
	w.corrupt(history.LogKey(anne, cut+7))
	w.must(w.memory.Delete(t.Context(), history.CheckpointKey(anne, cut)))
	lost := false
	_, err := verify.Run(t.Context(), w.found, verify.Options{Report: func(p verify.Problem) {
		lost = lost || p.Object == history.LogKey(anne, cut)
	}})
	if err != nil || !lost {
		t.Errorf("%v, loss reported: %v", err, lost)
	}
}

// A loss that a bridge records ends retention. The error names it, and what helps; verify would report
// no damage.
func TestRetainAfterBridge(t *testing.T) {
	for kind, damage := range map[string]func(*past, string){
		"damaged": (*past).corrupt,
		"missing": func(w *past, key string) { w.must(w.memory.Delete(w.t.Context(), key)) },
	} {
		t.Run(kind, func(t *testing.T) {
			w := newPast(t)
			w.create("inbox")
			for range 5 {
				w.deliver("inbox", 2)
				w.days(1)
			}
			damage(w, history.LogKey(anne, 4))
			w.days(60)
			if _, err := w.retain(); err == nil || strings.Contains(err.Error(), "set-aside") {
				t.Errorf("before the repair: %v", err)
			}
			w.repair()
			w.must(w.fold.Close())
			var err error
			w.fold, err = w.found.Load(t.Context(), history.Moment{})
			w.must(err)
			for w.tip = w.fold.Tip(); w.tip.Number < 12; w.days(20) {
				w.deliver("inbox", 2)
			}
			keys := w.memory.Keys("backups/")
			done, err := w.retain()
			if err == nil || !strings.Contains(err.Error(), "commit 4 ("+kind+"), recorded by commit ") || !strings.Contains(err.Error(), "set-aside") {
				t.Errorf("%v", err)
			}
			if got := w.memory.Keys("backups/"); done.Log.Objects > 0 || len(got) < len(keys) {
				t.Errorf("%+v: %d objects, before %d", done, len(got), len(keys))
			}
		})
	}
}
