package maintenance_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// longHistory has more days before the limit than shortHistory.
func longHistory(t *testing.T) *forgetful {
	w := shortHistory(t)
	w.liveFor(9)
	w.until = maintenance.LastDay(w.now, 48*time.Hour).Add(-24 * time.Hour)
	return w
}

// night does what compact does, without collection.
func (w *forgetful) night() (swept maintenance.Swept, err error) {
	w.t.Helper()
	err = w.upkeep(func(f *repository.Found, u *repository.Upkeep) (err error) {
		swept, err = maintenance.Sweep(w.t.Context(), f, u, w.forgetOptions())
		w.after(swept)
		m := maintenance.NewMerger(f.Partition, w.forgetOptions().Merge)
		job := m.Add(w.t.Context(), f, u)
		return errors.Join(err, m.Flush(w.t.Context()), job.Err)
	})
	return swept, err
}

// A delayed request puts a segment again that was removed. Sweep removes it, or compaction when it is old enough.
func TestSweepLateSegment(t *testing.T) {
	for _, which := range []string{"first", "second", "last"} {
		t.Run(which, func(t *testing.T) {
			w := longHistory(t)
			w.merge()
			old := map[string][]byte{}
			var gone []string
			for key := range w.objects(history.LogPrefix(anne)) {
				if strings.Contains(key[len(history.LogPrefix(anne)):], "-") {
					old[key], gone = w.memory.Bytes(key), append(gone, key)
				}
			}
			w.mustForget()
			gone = slices.DeleteFunc(gone, func(key string) bool { return w.memory.Bytes(key) != nil })
			slices.Sort(gone)
			if len(gone) < 3 {
				t.Fatalf("%d segments were removed", len(gone))
			}
			key := gone[map[string]int{"first": 0, "second": 1, "last": len(gone) - 1}[which]]
			w.put(key, old[key])
			for range 4 {
				w.hours(25)
				if s, err := w.night(); err == nil && s.Complete() && w.memory.Bytes(key) != nil {
					t.Errorf("%s is there, and nothing waits", key)
				}
			}
			w.hours(25)
			if s := w.sweep(); !s.Complete() || w.memory.Bytes(key) != nil {
				t.Errorf("%+v, %s is there: %t", s, key, w.memory.Bytes(key) != nil)
			}
			w.checkForgotten(true)
		})
	}
}

// Retention and the checkpoints of a daemon go on each night, for some nights without a sweep. The next sweeps
// complete nevertheless.
func TestSweepBesideRetention(t *testing.T) {
	w := longHistory(t)
	w.policy.Keep, w.policy.Daily = 72*time.Hour, 3
	w.mustForget()
	for night := range 8 {
		w.hours(25)
		if night > 3 {
			s, err := w.night()
			w.must(err)
			if s.Complete() {
				w.checkForgotten(true)
				return
			}
		}
		_, err := w.retain()
		w.must(err)
		w.renew()
		w.deliver("inbox", 2)
		w.note()
		w.checkpoint()
	}
	t.Error("it never completes")
}

// A delayed request puts a single commit into the history that was removed, with an inline body. Sweep removes it
// as soon as it is old enough.
func TestSweepLateCommit(t *testing.T) {
	for _, which := range []string{"first", "middle"} {
		t.Run(which, func(t *testing.T) {
			w := longHistory(t)
			w.mustForget()
			n := map[string]uint64{"first": 1, "middle": w.base() / 2}[which]
			key := history.LogKey(anne, n)
			b := history.NewBuilder(history.Header{Backup: anne, Number: n, Time: w.times[n], Clock: w.times[n]}, pack.Options{})
			w.must(b.Event(&history.MessagesEvent{Messages: w.bodies(b, 1, true)}))
			if won, err := w.found.PutBuilt(t.Context(), b); err != nil || !won {
				t.Fatal(won, err)
			}
			for range 4 {
				w.hours(25)
				if s, err := w.night(); err == nil && s.Complete() && w.memory.Bytes(key) != nil {
					t.Errorf("%s is there, and nothing waits", key)
				}
			}
			w.hours(25)
			s := w.sweep()
			if there := w.memory.Bytes(key) != nil; there || !s.Complete() {
				t.Errorf("%+v, commit %d is there: %t", s, n, there)
			}
			w.checkForgotten(true)
		})
	}
}

// An object with the records of a large commit that was removed is young: a repair, or a move of the backup, has put it
// again. Sweep waits until it is old enough to be removed.
func TestSweepYoungRecords(t *testing.T) {
	w := newForgetful(t)
	w.plain = true
	w.create("inbox")
	w.note()
	w.wide = true
	w.deliver("inbox", 4)
	w.note()
	w.expunge("inbox", 2)
	w.note()
	w.liveFor(9)
	w.until = maintenance.LastDay(w.now, 48*time.Hour)
	objects := w.objects(history.RecordsPrefix(anne))
	w.mustForget()
	var again []string
	for key := range objects {
		if of, err := history.OfCheckpoints(t.Context(), w.memory, key); err == nil && !of {
			w.put(key, w.memory.Bytes(key))
			again = append(again, key)
		}
	}
	if len(again) == 0 {
		t.Fatal("no records of a large commit are left: this test no longer covers its case")
	}
	w.hours(14)
	if s := w.sweep(); s.Complete() || !s.Until.Equal(w.now.Add(34*time.Hour)) {
		t.Errorf("%+v, want to wait until %s", s, w.now.Add(34*time.Hour))
	}
	w.hours(36)
	if s := w.sweep(); !s.Complete() || s.Removed.Objects < len(again) {
		t.Errorf("%+v", s)
	}
	w.checkForgotten(true)
}

// A daemon puts checkpoints between the sweeps, so that blocks that nothing names are beside needed ones at any time.
// The erasure completes nevertheless.
func TestSweepBesideDaemon(t *testing.T) {
	w := longHistory(t)
	for range 3 { // several blocks of messages and places
		w.deliver("inbox", 40)
		w.note()
	}
	w.checkpoint()
	w.mustForget()
	for range 4 {
		for range 5 {
			w.hours(3)
			w.deliver("inbox", 2)
			w.note()
			w.checkpoint()
		}
		if s := w.sweep(); s.Complete() {
			w.checkForgotten(true)
			return
		}
	}
	t.Error("it never completes")
}

// ahead puts a commit while the clock of the store is wrong, and that of the host is right.
func (w *forgetful) ahead(wrong time.Time, events ...history.Event) {
	w.t.Helper()
	h := history.Header{Backup: anne, Number: w.tip.Number + 1, Prev: w.tip.Hash, Time: wrong, Host: "h", Clock: w.now, Connection: "c", Client: "mail"}
	b := history.NewBuilder(h, pack.Options{})
	for _, e := range events {
		w.must(b.Event(e))
	}
	if won, err := w.found.PutBuilt(w.t.Context(), b); err != nil || !won {
		w.t.Fatal(won, err)
	}
	w.catchUp()
}

// mustRefuseClock checks that Forget refuses because of a wrong clock, and that nothing was removed.
func (w *forgetful) mustRefuseClock() {
	w.t.Helper()
	cut := false
	err := w.upkeep(func(f *repository.Found, u *repository.Upkeep) error {
		o := w.forgetOptions()
		o.Cutting = func(context.Context) error { cut = true; return nil }
		_, err := maintenance.Forget(w.t.Context(), f, u, o)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "is wrong") || cut {
		w.t.Errorf("%v, removed: %t", err, cut)
	}
}

// The time of a deletion is wrong, because the clock of the store was: a prune event of the limit does not drop the
// content. Forget refuses before anything is removed, also if nothing has followed for long.
func TestForgetDeletedAhead(t *testing.T) {
	for _, idle := range []bool{false, true} {
		w := shortHistory(t)
		w.days(1)
		wrong := w.now.AddDate(4, 0, 0)
		w.ahead(wrong, &history.ExpungeEvent{UniqueID: "inbox", UIDs: w.past.boxes["inbox"][:1]})
		w.days(6)
		if !idle {
			w.ahead(wrong, &history.SubEvent{User: "anne", Name: "user.anne", Subscribed: true})
		}
		w.until = maintenance.LastDay(w.now, 48*time.Hour)
		newest := w.tip.Number
		w.mustRefuseClock()
		if n, err := w.log().Newest(t.Context(), newest); err != nil || n != newest {
			t.Errorf("commit %d was put, %v", n, err)
		}
	}
}

// The same, and retention has cut the log past the time of the erasure.
func TestForgetDeletedAheadBeforeRetention(t *testing.T) {
	w := newForgetful(t)
	w.policy.Keep, w.policy.Daily = 72*time.Hour, 30
	w.create("inbox")
	w.deliver("inbox", 4)
	w.days(1)
	wrong := w.now.AddDate(4, 0, 0)
	w.ahead(wrong, &history.ExpungeEvent{UniqueID: "inbox", UIDs: w.past.boxes["inbox"][:1]})
	w.days(2)
	w.until = w.now.UTC().Truncate(24 * time.Hour)
	before := w.tip.Number
	for i := range 8 {
		w.days(1)
		w.ahead(wrong, &history.SubEvent{User: "anne", Name: "user.anne", Subscribed: i%2 == 0})
	}
	w.days(5)
	w.merge()
	w.days(3)
	w.ahead(wrong, &history.SubEvent{User: "anne", Name: "user.anne", Subscribed: true})
	_, err := w.retain()
	w.must(err)
	w.catchUp()
	if base := w.base(); base <= before {
		t.Fatalf("the log begins after commit %d: this test no longer covers its case", base)
	}
	w.mustRefuseClock()
}

// A message was deleted in one folder and is live in another one, so that only its former record goes. That is in an
// object beside blocks that are needed, and no block of places has changed.
func TestForgetRecordBesideNeeded(t *testing.T) {
	w := newForgetful(t)
	w.create("inbox")
	w.create("other")
	w.deliver("inbox", 2)
	r, err := w.fold.Record("inbox", 1)
	w.must(err)
	marker := "MARKER-3d19"
	record := r.Record
	record.Annotations = []cyrus.Annotation{{Entry: "/comment", Value: &marker}}
	w.commit(&history.RecordsEvent{UniqueID: "inbox", Records: []*cyrus.Record{&record}}, &history.RecordsEvent{UniqueID: "other", Records: []*cyrus.Record{&r.Record}})
	w.commit(&history.ExpungeEvent{UniqueID: "inbox", UIDs: []uint32{1}})
	w.checkpoint()
	for range 6 {
		w.days(1)
		w.commit(&history.SubEvent{User: "anne", Name: "user.anne", Subscribed: true})
	}
	w.until = maintenance.LastDay(w.now, 48*time.Hour)
	w.mustForget()
	w.hours(14)
	if s := w.sweep(); !s.Complete() {
		t.Errorf("%+v", s)
	}
	for key := range w.objects(history.RecordsPrefix(anne)) {
		if strings.Contains(decompressed(t, w.memory.Bytes(key)), marker) {
			t.Errorf("the deleted record is in %s", key)
		}
	}
	w.checkMoments()
}

// A backup was moved here lately, and its newest commit is old. Forget refuses before it changes anything.
func TestForgetMovedLately(t *testing.T) {
	w := shortHistory(t)
	w.days(5)
	for key := range w.objects("backups/") {
		w.put(key, w.memory.Bytes(key))
	}
	w.until = maintenance.LastDay(w.now, 48*time.Hour)
	before := w.memory.Snapshot()
	if _, err := w.forget(); !errors.Is(err, maintenance.ErrTooYoung) {
		t.Errorf("%v", err)
	}
	if changed := slices.DeleteFunc(w.memory.Changed(before), func(key string) bool { return strings.HasSuffix(key, "/upkeep.json") }); len(changed) > 0 {
		t.Errorf("changed %q", changed)
	}
	w.days(3)
	w.mustForget()
	w.checkForgotten(false)
}

// The newest commit has its body inline, and nothing has followed for long. One run removes the history.
func TestForgetIdle(t *testing.T) {
	w := shortHistory(t)
	w.commitWith(1, "inbox", true)
	w.note()
	w.days(5)
	w.until = maintenance.LastDay(w.now, 48*time.Hour)
	w.mustForgetWholly()
}

// Retention has cut the log past the time of an erasure. The state before the log rightly has messages that were deleted
// after that time. Neither the erasure nor the sweep takes that for a wrong clock.
func TestForgetBeforeRetention(t *testing.T) {
	w := newForgetful(t)
	w.plain = true
	w.policy.Keep, w.policy.Daily = 72*time.Hour, 30
	w.create("inbox")
	w.note()
	w.deliver("inbox", 4)
	w.note()
	w.days(1)
	w.expunge("inbox", 1)
	w.note()
	w.days(2)
	w.until = w.now.UTC().Truncate(24 * time.Hour)
	for range 4 {
		w.days(1)
		w.deliver("inbox", 1)
		w.expunge("inbox", 1)
		w.note()
	}
	w.days(5)
	w.merge()
	w.days(3)
	w.deliver("inbox", 1)
	w.note()
	_, err := w.retain()
	w.must(err)
	w.catchUp()
	w.note()
	if base := w.base(); base < 2 || !w.times[base-1].After(w.until) {
		t.Fatalf("the log begins after commit %d: this test no longer covers its case", base)
	}
	w.mustForgetWholly()
}

// The bodies of a large commit go into packs when it is removed. Each of these is announced before it is put.
func TestForgetAnnouncesPacks(t *testing.T) {
	w := newForgetful(t)
	w.plain = true
	w.create("inbox")
	w.note()
	w.large = true
	w.commitWith(3, "inbox", true)
	w.large = false
	w.note()
	w.days(9)
	w.deliver("inbox", 1)
	w.note()
	w.until = maintenance.LastDay(w.now, 48*time.Hour)
	before, announced := w.objects("packs/"), map[string]bool{}
	w.must(w.upkeep(func(f *repository.Found, u *repository.Upkeep) error {
		o := w.forgetOptions()
		o.Merge.Packing = func(_ context.Context, key string) error {
			if announced[key] = true; w.memory.Bytes(key) != nil {
				t.Errorf("%s was put before", key)
			}
			return nil
		}
		_, err := maintenance.Forget(t.Context(), f, u, o)
		return err
	}))
	put := 0
	for key := range w.objects("packs/") {
		if _, old := before[key]; old {
			continue
		}
		if put++; !announced[key] {
			t.Errorf("%s was not announced", key)
		}
	}
	if put == 0 {
		t.Error("no pack was put: this test no longer covers its case")
	}
}

// After the first sweep, objects come back from a mirror that nothing has named for long. A later sweep removes them.
func TestSweepRestoredBlocks(t *testing.T) {
	w := longHistory(t)
	before := w.objects(history.RecordsPrefix(anne))
	old := map[string][]byte{}
	for key := range before {
		old[key] = w.memory.Bytes(key)
	}
	w.mustForget()
	for range 3 {
		w.hours(15)
		w.sweep()
	}
	back := 0
	for key, b := range old {
		if w.memory.Bytes(key) == nil {
			w.put(key, b)
			back++
		}
	}
	if back == 0 {
		t.Fatal("no object was removed: this test covers nothing")
	}
	w.hours(49)
	if s := w.sweep(); !s.Complete() {
		t.Errorf("%+v", s)
	}
	w.checkForgotten(true)
}
