package erasure_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Between any two changes, a daemon that was slow puts a checkpoint of the state before the erasure.
// It names the erased bodies, and is removed half a day later: their packs must be on record anyway.
func TestHistoryBesideLateCheckpoint(t *testing.T) {
	n, more := 0, true
	for ; more; n += stride() {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			more = false
			w := newPast(t)
			late, err := w.found("anne").Load(t.Context(), history.Moment{})
			if err != nil {
				t.Fatal(err)
			}
			defer late.Close()
			f := faultstore.New(w.mem)
			w.store = f
			var failed error
			changes := func(op, _ string) bool { return op == "put" || op == "delete" }
			f.Add(faultstore.Fault{Skip: n, Count: 1, Match: changes, Call: func(string, string) {
				more = true
				_, failed = late.AddCheckpoint(t.Context(), pack.Options{}, func() error { return nil })
			}})
			_, err = w.tryHistory()
			f.Clear()
			w.store = w.mem
			if failed != nil && !errors.Is(failed, repository.ErrUpkeep) {
				t.Fatal(failed)
			}
			if err != nil {
				w.later(hour)
				w.mustHistory()
			}
			for range 3 {
				w.later(15 * hour)
				w.finish()
			}
			w.complete()
		})
	}
	if n < 15 {
		t.Errorf("only %d changes", n)
	}
}

// A hold keeps the rest of erased history for days. Meanwhile collection does not rewrite the condemned packs: blocks
// that are left name the erased bodies, and the new packs would be on no list.
func TestHistoryHeldMeanwhile(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	w.hold(w.found("anne"), repository.HoldPlaced)
	for range 4 {
		w.later(25 * hour)
		for _, e := range w.open() {
			_, err := erasure.SweepHistory(t.Context(), w.config(), e, w.historyOptions().Forget)
			if is, _ := erasure.Due(e, w.now); is && !errors.Is(err, repository.ErrOnHold) {
				t.Fatal(err)
			}
		}
		o := w.collectOptions()
		o.Keep = erasure.Keep(w.config(), nil, w.here)
		if _, err := collection.Collect(t.Context(), w.config(), o); err != nil {
			t.Fatal(err)
		}
	}
	w.mem.Lose(repository.HoldsKey(w.found("anne").Path))
	for range 4 {
		w.later(25 * hour)
		w.finish()
	}
	w.complete()
}

// A daemon that was slow puts blocks after the erasure, and no checkpoint. No former version of them stays.
func TestHistoryLateBlocks(t *testing.T) {
	w := newPast(t)
	w.commit("anne", nil, &history.SubEvent{User: "anne", Name: "user.anne", Subscribed: true})
	late, err := w.found("anne").Load(t.Context(), history.Moment{})
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	w.mustHistory()
	w.later(hour)
	killed := errors.New("killed")
	if _, err := late.AddCheckpoint(t.Context(), pack.Options{}, func() error { return killed }); !errors.Is(err, killed) {
		t.Fatal(err)
	}
	for range 2 {
		w.later(15 * hour)
		w.finish()
	}
	w.complete()
	for _, key := range w.below("backups/user/anne/records/") {
		if !w.has(key) {
			t.Errorf("a former version of %s is left", key)
		}
	}
}

// A backup cannot be set aside while bodies of erased history are left: nothing would remove them from the copy.
func TestHistoryKeepsFromSetAside(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	w.later(hour)
	if _, _, err := w.remains().SetAside(t.Context(), "test", w.lock(), nil); !errors.Is(err, repository.ErrErasing) {
		t.Fatalf("%v", err)
	}
	w.later(15 * hour)
	w.finish()
	w.complete()
	if _, _, err := w.remains().SetAside(t.Context(), "test", w.lock(), nil); err != nil {
		t.Error(err)
	}
}

// Each request of what compact does later fails in turn, and is repeated.
func TestHistoryFinishWithFaults(t *testing.T) {
	n := 0
	for more := true; more; n += stride() {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newPast(t)
			w.mustHistory()
			w.later(15 * hour)
			f := faultstore.New(w.mem)
			w.store = f
			f.Add(lost(n, n%2 != 0))
			_ = w.tryFinish()
			more = f.Struck() > 0
			f.Clear()
			w.store = w.mem
			for range 2 {
				w.later(15 * hour)
				w.finish()
			}
			w.complete()
		})
	}
	if n < 80 {
		t.Errorf("only %d requests", n)
	}
}

// What the bucket retains of the history is removed when it may be: a pack, a checkpoint, and a version with a
// legal hold. Until then the record shows why.
func TestHistoryRetained(t *testing.T) {
	w := newPast(t)
	until := w.now.Add(10 * day)
	w.mem.Retain(w.private, until)
	held := w.below("backups/user/anne/checkpoints/")[0]
	w.mem.LegalHold(held, true)
	w.mem.LegalHold(w.mixed, true)
	if done := w.mustHistory(); !done.LegalHold || !done.Retained.IsZero() {
		t.Errorf("%+v", done.Erasure)
	}
	w.forgotten()
	for range 2 {
		w.later(15 * hour)
		if err := w.tryFinish(); err != nil {
			t.Fatal(err)
		}
	}
	w.forgotten()
	if open := w.open(); len(open) != 1 || !open[0].LegalHold || !open[0].Retained.Equal(until) || w.has(w.private) || w.has(w.mixed) {
		t.Fatalf("%+v", open)
	}
	w.later(10 * day)
	if err := w.tryFinish(); err != nil {
		t.Fatal(err)
	}
	if open := w.open(); len(open) != 1 || !open[0].LegalHold || !open[0].Retained.IsZero() {
		t.Fatalf("after the retention: %+v", open)
	}
	for _, key := range []string{held, w.mixed} {
		w.mem.LegalHold(key, false)
	}
	w.later(day)
	w.finish()
	w.complete()
}

// A message was deleted before the time, and its tombstone is sent again later. The tombstone stays, and not its body.
func TestHistoryTombstoneAgain(t *testing.T) {
	w := newPast(t)
	var again []*cyrus.Record
	for _, n := range []int{1, 3, 4} {
		m := message(n)
		again = append(again, &cyrus.Record{UID: uint32(n), ModSeq: 9, GUID: m.GUID, Size: uint32(m.Size), Flags: []string{`\Expunged`}, LastUpdated: w.now.Unix(), InternalDate: w.now.Unix()})
	}
	w.commit("anne", nil, &history.RecordsEvent{UniqueID: "inbox", Records: again})
	w.mustHistory()
	w.later(15 * hour)
	w.finish()
	for _, key := range w.needles() {
		if strings.HasPrefix(key, "packs/") || strings.HasPrefix(key, "backups/user/anne/log/") {
			t.Errorf("the needle is in %s", key)
		}
	}
	if open := w.open(); len(open) > 0 {
		t.Errorf("%+v", open[0])
	}
	w.check("anne", 101, 102, 105, 106, 107)
	w.check("bert", 103, 104)
}

// The list of packs of an erasure that waits is damaged. Meanwhile collection rewrites no pack: nobody knows which of
// them have erased bodies.
func TestHistoryListDamagedMeanwhile(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	key := repository.ErasurePacksKey(w.open()[0].ID)
	list := w.mem.Bytes(key)
	w.put(key, []byte("damaged"))
	for range 3 {
		w.later(25 * hour)
		o := w.collectOptions()
		o.Keep = erasure.Keep(w.config(), nil, w.here)
		if _, err := collection.Collect(t.Context(), w.config(), o); err != nil {
			t.Fatal(err)
		}
		if !w.has(w.mixed) {
			t.Fatal("a pack was rewritten")
		}
	}
	w.put(key, list)
	for range 2 {
		w.later(15 * hour)
		w.finish()
	}
	w.complete()
}

// Each sweep that has found something is interrupted after its changes. The next one waits as long nevertheless.
func TestHistorySweepInterrupted(t *testing.T) {
	w := newPast(t)
	late, err := w.found("anne").Load(t.Context(), history.Moment{})
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	w.mustHistory()
	w.later(11 * hour)
	if _, err := late.AddCheckpoint(t.Context(), pack.Options{}, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	w.later(5 * hour)
	struck := w.fails(0, func(op, key string) bool {
		return op == "put" && strings.HasPrefix(key, "backups/user/anne/checkpoints/")
	})
	if err := w.tryFinish(); err == nil || !struck() {
		t.Fatal(err)
	}
	e := w.open()[0]
	if is, at := erasure.Due(e, w.now.Add(hour)); is || at.Before(w.now.Add(maintenance.BlocksGrace)) {
		t.Errorf("due at %s", at)
	}
	for range 3 {
		w.later(15 * hour)
		w.finish()
	}
	w.complete()
}
