package maintenance_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
)

// forgetful is a past whose writer also remembers the live content at each commit.
// note remembers the newest state.
// live returns the live content of a state.
// odd makes a commit that refers to what may be deleted.
// live makes some days of random commits.
// upkeep calls fn with the upkeep of the backup.
// renew follows the rest of the log.
// after forgets what Sweep has found, if a checkpoint has appeared since.
// checkForgotten checks every moment. With whole, also blocks that nobody names have no dropped bodies.
// checkMoments checks the moments that an erasure leaves, at any time.
// base is the checkpoint before the log; 1 = the log is complete.
// allowed returns the chunks of messages that the moments from the base on need.
// checkRecords checks that no object has the records or messages that only the history before the limit needs, apart
// from tombstones that were sent again.
// decompressed decompresses an object as far as possible.
// places returns the chunks that objects name.
// Random histories, forgotten up to random days: every later moment stays, and nothing names what only
// earlier ones need.
func TestForget(t *testing.T) {
	seeds, days := uint64(24), 12
	if short() {
		days = 7
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newForgetful(t)
			w.random = rand.New(rand.NewPCG(seed, 7))
			w.create("inbox")
			w.note()
			w.liveFor(days)
			if seed%3 == 0 {
				w.large = true
				w.commitWith(3, "inbox", true)
				w.large = false
				w.note()
			}
			w.liveFor(days)
			if seed%4 == 1 { // with a checkpoint before the log, and single moments
				w.policy.Daily, w.policy.Weekly = 3, 2
				w.merge()
				_, err := w.retain()
				w.must(err)
				w.catchUp()
				w.note()
				w.liveFor(3)
			}
			w.until = maintenance.LastDay(w.now, 48*time.Hour).Add(-time.Duration(w.random.IntN(days)) * 24 * time.Hour)
			if seed%5 == 4 { // everything is before it
				w.days(9)
				w.until = maintenance.LastDay(w.now, 48*time.Hour)
			}
			w.mustForget()
			w.checkForgotten(false)
			before := w.memory.Snapshot()
			w.mustForget()
			if changed := slices.DeleteFunc(w.memory.Changed(before), func(key string) bool { return strings.HasSuffix(key, "/upkeep.json") }); len(changed) > 0 {
				t.Errorf("a second run has changed %q", changed)
			}
			w.hours(14)
			if s := w.sweep(); !s.Complete() {
				t.Errorf("%+v", s)
			}
			w.checkForgotten(true)
			w.liveFor(12)
			w.until = w.until.Add(5 * 24 * time.Hour)
			w.mustForget()
			w.checkForgotten(false)
		})
	}
}

// short history for tests that run it often.
func shortHistory(t *testing.T) *forgetful {
	w := newForgetful(t)
	w.random = rand.New(rand.NewPCG(3, 11))
	w.plain = true
	w.create("inbox")
	w.note()
	w.deliver("inbox", 3)
	w.note()
	w.days(1)
	w.expunge("inbox", 2)
	w.note()
	w.checkpoint()
	w.liveFor(7)
	w.until = maintenance.LastDay(w.now, 48*time.Hour).Add(-24 * time.Hour)
	return w
}

// again restores the world that it is called in, as often as the result is called.
func (w *forgetful) again() (restore func()) {
	start, at, tip, random := w.memory.Snapshot(), w.now, w.tip, *w.random
	uids, boxes := maps.Clone(w.uids), maps.Clone(w.past.boxes)
	return func() {
		w.memory.Rollback(start, "", false)
		w.now, w.tip, *w.random = at, tip, random
		w.uids, w.past.boxes = maps.Clone(uids), maps.Clone(boxes)
		for n := range w.shown {
			if n > tip.Number {
				delete(w.shown, n)
				delete(w.used, n)
			}
		}
		w.store = w.memory
		w.renew()
	}
}

// Each request fails in turn, or loses its answer. Every later moment stays, verify finds no damage, and
// the next run completes the work.
func TestForgetWithFaults(t *testing.T) {
	w := shortHistory(t)
	restore := w.again()
	for _, lost := range []bool{false, true} {
		step := 7
		if short() {
			step = 41
		}
		for n := 0; ; n += step {
			restore()
			s := faultstore.New(w.memory)
			f := faultstore.Fault{Skip: n, Count: 1}
			if lost {
				f.After = faultstore.Lost
			} else {
				f.Before = faultstore.Lost
			}
			s.Add(f)
			w.store = s
			_, err := w.forget()
			w.store = w.memory
			w.renew()
			if err == nil && s.Struck() == 0 {
				if n < 60 {
					t.Errorf("a run has only %d requests", n)
				}
				break
			}
			w.checkMoments()
			w.hours(1) // its lease has ended
			w.mustForget()
			w.checkForgotten(false)
			w.hours(14)
			if s := w.sweep(); !s.Complete() {
				t.Errorf("request %d: %+v", n, s)
			}
			w.checkForgotten(true)
			if t.Failed() {
				t.Fatalf("request %d, lost %t: %v", n, lost, err)
			}
		}
	}
}

// A daemon commits between any two changes. Its commit names a message again that was deleted, as long
// as its state has the message: until the commit of the erasure.
func TestForgetBesideWriter(t *testing.T) {
	w := shortHistory(t)
	restore := w.again()
	before, after, step := 0, 0, 1
	if short() {
		step = 5
	}
	w.still = true
	for n := 0; ; n += step {
		restore()
		g, r := w.deletedMessage()
		switch struck, pruned := w.forgetBesideWriter(n, g, r); {
		case !struck && (before == 0 || after == 0):
			t.Fatalf("the message was named again %d times, and was gone %d times", before, after)
		case !struck:
			return
		case pruned:
			after++
		case after > 0:
			t.Fatalf("change %d: the message is back", n)
		default:
			before++
		}
		w.checkForgotten(false)
	}
}

// forgetBesideWriter erases, and names a message again before change n. pruned means that the commit of the
// erasure exists by then: the state lacks the message from there on.
func (w *forgetful) forgetBesideWriter(n int, g cyrus.GUID, r *cyrus.Record) (struck, pruned bool) {
	w.t.Helper()
	start := w.tip.Number
	s := faultstore.New(w.memory)
	changes := func(op, _ string) bool { return op == "put" || op == "delete" } // by the goroutine of the test
	s.Add(faultstore.Fault{Skip: n, Count: 1, Match: changes, Call: func(string, string) {
		struck = true
		w.catchUp() // a daemon has read the commits before its own
		pruned = w.tip.Number > start
		m, err := w.fold.Message(g)
		w.must(err)
		if has := m != nil; has == pruned {
			w.t.Errorf("change %d: the state has the message: %t, with the commit of the erasure: %t", n, has, pruned)
		}
		if m == nil {
			return
		}
		w.uids["inbox"]++
		again := *r
		again.UID, again.Flags = w.uids["inbox"], []string{}
		w.commit(&history.RecordsEvent{UniqueID: "inbox", Records: []*cyrus.Record{&again}})
		w.note()
	}})
	w.store = s
	_, err := w.forget()
	w.store = w.memory
	if err != nil {
		w.t.Fatalf("change %d: %v", n, err)
	}
	w.renew()
	return struck, pruned
}

// deletedMessage returns a message that only tombstones name, and one of them.
func (w *forgetful) deletedMessage() (g cyrus.GUID, found *cyrus.Record) {
	w.t.Helper()
	for box, err := range w.fold.Mailboxes() {
		w.must(err)
		for r, err := range w.fold.Records(box.UniqueID, 0) {
			w.must(err)
			if at := w.used[w.tip.Number][r.GUID]; at < w.until.Unix() && !w.kept[r.GUID] {
				return r.GUID, &r.Record
			}
		}
	}
	w.t.Fatal("no message was deleted")
	return g, nil
}

// A daemon that was slow puts a checkpoint after the erasure. Sweep removes it, and waits again.
func TestSweepLateCheckpoint(t *testing.T) {
	w := shortHistory(t)
	at := w.tip.Number
	m, err := w.found.Load(t.Context(), history.Moment{})
	w.must(err)
	defer m.Close()
	w.mustForget()
	w.hours(11)
	_, err = m.WriteCheckpoint(t.Context(), pack.Options{})
	w.must(err)
	if n := w.checkpoints(); !slices.Contains(n, at) {
		t.Fatalf("checkpoints %v, want %d", n, at)
	}
	w.hours(3)
	if s := w.sweep(); !s.Appeared || s.Complete() {
		t.Errorf("%+v", s)
	}
	w.checkForgotten(false)
	if s := w.sweep(); s.Complete() {
		t.Errorf("at once: %+v", s)
	}
	w.hours(14)
	if s := w.sweep(); !s.Complete() {
		t.Errorf("half a day later: %+v", s)
	}
	w.checkForgotten(true)
}

// Blocks that a daemon has just put for a checkpoint stay.
func TestSweepLeavesYoungBlocks(t *testing.T) {
	w := shortHistory(t)
	w.mustForget()
	w.hours(14)
	m, err := w.found.Load(t.Context(), history.Moment{})
	w.must(err)
	defer m.Close()
	_, err = m.AddCheckpoint(t.Context(), pack.Options{}, func() error { return errors.New("killed") })
	if err == nil {
		t.Fatal("no error")
	}
	w.deliver("inbox", 1)
	w.note()
	w.must(w.fold.Close())
	w.fold, err = w.found.Load(t.Context(), history.Moment{})
	w.must(err)
	before := w.objects(history.RecordsPrefix(anne))
	_, err = w.fold.AddCheckpoint(t.Context(), pack.Options{}, func() error { return errors.New("killed") })
	if err == nil {
		t.Fatal("no error")
	}
	fresh := 0
	out := w.sweep()
	for key := range w.objects(history.RecordsPrefix(anne)) {
		if _, old := before[key]; !old {
			fresh++
		}
	}
	if fresh == 0 || out.Complete() {
		t.Errorf("%d new objects are left; %+v", fresh, out)
	}
	w.checkForgotten(false)
}

// A time that is too recent is refused before anything changes.
func TestForgetTooYoung(t *testing.T) {
	w := shortHistory(t)
	for _, until := range []time.Time{w.until.Add(time.Hour), maintenance.LastDay(w.now, 48*time.Hour).Add(24 * time.Hour)} {
		w.until = until
		before := w.memory.Snapshot()
		if _, err := w.forget(); !errors.Is(err, maintenance.ErrTooYoung) {
			t.Errorf("%v", err)
		}
		if changed := slices.DeleteFunc(w.memory.Changed(before), func(key string) bool { return strings.HasSuffix(key, "/upkeep.json") }); len(changed) > 0 {
			t.Errorf("changed %q", changed)
		}
	}
}
