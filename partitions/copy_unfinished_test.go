package partitions_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/transfer"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// unfinishedWorld is a backup with an export of an earlier time. Since then, its log was merged, or
// retention has removed what the two had in common.
type unfinishedWorld struct {
	t     *testing.T
	clock *clocked
	begun time.Time
	store *memstore.Store
	out   *memstore.Store
	set   *host // with out as its partition
	inbox *source
}

func (w *unfinishedWorld) export() error {
	_, err := transfer.Copy(w.t.Context(), found(w.t, w.store), w.set.set.Partitions()[0], nil)
	return err
}

// mergedSinceExport has a segment of the commits 1 to 7, of which the export has 3, and commit 8.
func mergedSinceExport(t *testing.T) *unfinishedWorld {
	c := &clocked{now: time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC)}
	w := &unfinishedWorld{t: t, clock: c, begun: c.now, store: memstore.New(c.clock), out: memstore.New(c.clock), inbox: newSource("user.anne")}
	h := newHostWith(t, c.options, w.store)
	w.set = newHostWith(t, c.options, w.out)
	for i := range 7 {
		w.inbox.deliver(mail(i, 500))
		h.sync("anne", w.inbox)
		if i != 2 {
			continue
		}
		if err := w.export(); err != nil {
			t.Fatal(err)
		}
	}
	c.now = c.now.Add(5 * 24 * time.Hour)
	w.inbox.deliver(mail(10, 500))
	h.sync("anne", w.inbox)
	compacted(t, w.store, c.clock)
	if w.store.Bytes(history.SegmentKey("user/anne", 1, 7)) == nil || w.out.Bytes(history.LogKey("user/anne", 3)) == nil {
		t.Fatalf("%q, %q: this test no longer covers its case", w.store.Keys("backups/"), w.out.Keys("backups/"))
	}
	return w
}

// retainedSinceExport has a log that begins long after the end of the export.
func retainedSinceExport(t *testing.T) *unfinishedWorld {
	a := newAged(t)
	w := &unfinishedWorld{t: t, begun: a.clock(), store: a.store, out: memstore.New(a.clock), inbox: newSource("user.anne")}
	with := func(o *partitions.Options) { o.Now, o.NoCheckpoints = a.clock, true }
	h := newHostWith(t, with, w.store)
	w.set = newHostWith(t, with, w.out)
	a.mail(h, w.inbox, 3)
	if err := w.export(); err != nil {
		t.Fatal(err)
	}
	a.mail(h, w.inbox, 30)
	mergeLog(t, w.store, "user/anne", 1, 20)
	a.pass(49 * time.Hour)
	a.retain(7 * 24 * time.Hour)
	w.clock = &clocked{now: a.clock()}
	end, err := (&history.Log{Store: w.out, Backup: "user/anne"}).Newest(t.Context(), 0)
	begin, berr := (&history.Log{Store: w.store, Backup: "user/anne"}).First(t.Context())
	if err != nil || berr != nil || begin <= end+1 {
		t.Fatalf("%v, %v: the export ends with commit %d, the log begins with %d: this test no longer covers its case", err, berr, end, begin)
	}
	return w
}

// A later export is stopped at each of its requests that change something; some of these requests are
// executed nevertheless. No reader reports a loss, no repair puts a commit there, and no import
// takes a part of the log. The next export finishes the copy.
func TestUnfinishedExport(t *testing.T) {
	for name, begin := range map[string]func(*testing.T) *unfinishedWorld{"merged": mergedSinceExport, "retained": retainedSinceExport} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			w.stoppedAtEach(func(f func(error) memstore.Fault) (before, after memstore.Fault) { return f(errDenied), nil })
			w.stoppedAtEach(func(f func(error) memstore.Fault) (before, after memstore.Fault) { return f(memstore.ErrInjected), nil })
			w.stoppedAtEach(func(f func(error) memstore.Fault) (before, after memstore.Fault) { return nil, f(memstore.ErrInjected) })
		})
	}
}

// stoppedAtEach lets a store fail from each request on that changes something.
func (w *unfinishedWorld) stoppedAtEach(faults func(func(error) memstore.Fault) (before, after memstore.Fault)) {
	w.t.Helper()
	was, seen := w.out.Snapshot(), 0
	for n := firstCall(); ; n += stride() {
		var reached func() bool
		w.out.SetFaults(faults(func(kind error) (f memstore.Fault) {
			f, reached = fault(n, 1<<30, kind)
			return ofChanges(f)
		}))
		err := w.export()
		w.out.SetFaults(nil, nil)
		switch unfinished := w.unfinished(fmt.Sprint("stopped at change ", n)); {
		case unfinished && err == nil:
			w.t.Errorf("stopped at change %d: the export reports nothing", n)
		case unfinished:
			seen++
		}
		w.finishes(fmt.Sprint("after change ", n))
		w.out.Rollback(was, "", false)
		if !reached() {
			break
		}
	}
	if seen == 0 && stride() == 1 {
		w.t.Error("no copy was unfinished: this test no longer covers its case")
	}
}

// ofChanges limits a fault to requests that change something.
func ofChanges(f memstore.Fault) memstore.Fault {
	return func(op, key string) error {
		if op != "put" && op != "delete" {
			return nil
		}
		return f(op, key)
	}
}

// unfinished checks how the programs treat the export, and returns whether they report that it is
// unfinished.
func (w *unfinishedWorld) unfinished(at string) bool {
	t, f := w.t, found(w.t, w.out)
	t.Helper()
	m, err := f.Load(t.Context(), history.Moment{Tolerant: true})
	if err != nil {
		t.Fatalf("%s: %v", at, err)
	}
	incomplete := f.Incomplete(m)
	is := errors.Is(incomplete, history.ErrUnfinished)
	if err := m.Close(); err != nil || incomplete != nil && !is {
		t.Errorf("%s: %v, %v", at, err, incomplete)
	}
	for _, quick := range []bool{false, true} {
		reported := false
		_, err = verify.Run(t.Context(), f, verify.Options{Quick: quick, Report: func(p verify.Problem) {
			mentions := strings.Contains(p.Text, history.ErrUnfinished.Error())
			reported = reported || mentions
			if !mentions && !strings.Contains(p.Text, "so readers ignore") {
				t.Errorf("%s: verify: %s", at, p)
			}
		}})
		if err != nil || reported != is {
			t.Errorf("%s: verify (quick: %v): %v, reported: %v, want %v", at, quick, err, reported, is)
		}
	}
	w.moments(at, f, is)
	if is {
		w.refused(at, f)
	}
	return is
}

// moments checks that no moment lacks commits without a report that the copy is unfinished.
func (w *unfinishedWorld) moments(at string, f *repository.Found, unfinished bool) {
	w.t.Helper()
	for n := uint64(firstCall()); n <= 40; n += uint64(stride()) {
		for _, moment := range []history.Moment{{Number: n}, {Time: w.begun.Add(time.Duration(n) * 12 * time.Hour)}} {
			moment.Tolerant = true
			m, err := f.Load(w.t.Context(), moment)
			if err != nil {
				continue // before the log, or after its end
			}
			err = f.Incomplete(m)
			if is := errors.Is(err, history.ErrUnfinished); err != nil && (!is || !unfinished) || strings.Contains(fmt.Sprint(err), "lost") {
				w.t.Errorf("%s: %s: %v", at, moment, err)
			}
			if err := m.Close(); err != nil {
				w.t.Error(err)
			}
		}
	}
}

// refused checks that nothing repairs an unfinished copy, and that it is the source of no other copy.
func (w *unfinishedWorld) refused(at string, f *repository.Found) {
	w.t.Helper()
	was := w.out.Keys("")
	_, err := verify.Repair(w.t.Context(), f, verify.RepairOptions{Problem: func(verify.Problem) {}, Report: func(verify.Change) {},
		Lock: repository.LockOptions{Owner: "test", Host: "host", Now: w.clock.clock}, Others: []repository.Config{f.Partition}})
	if !errors.Is(err, history.ErrUnfinished) || !slices.Equal(w.out.Keys(""), was) {
		w.t.Errorf("%s: repair: %v; objects %q", at, err, w.out.Keys(""))
	}
	store := newStore()
	to := newHost(w.t, store)
	defer to.stop()
	if _, err := to.importFound(f, repository.LockOptions{Owner: "test", Now: w.clock.clock}); !errors.Is(err, history.ErrUnfinished) {
		w.t.Errorf("%s: import: %v", at, err)
	}
	if _, err := transfer.Copy(w.t.Context(), f, to.set.Partitions()[0], nil); !errors.Is(err, history.ErrUnfinished) {
		w.t.Errorf("%s: export of the export: %v", at, err)
	}
	if keys := store.Keys("backups/"); len(keys) > 0 {
		w.t.Errorf("%s: copied %q", at, keys)
	}
}

// finishes exports again: the copy is complete, with nothing left beside the log.
func (w *unfinishedWorld) finishes(at string) {
	w.t.Helper()
	if err := w.export(); err != nil {
		w.t.Fatalf("%s: %v", at, err)
	}
	checkBucket(w.t, w.out, "user/anne", w.inbox).Close()
	if w.unfinished(at) {
		w.t.Errorf("%s: still unfinished", at)
	}
	w.nothingBeside(at)
}

func (w *unfinishedWorld) nothingBeside(at string) {
	w.t.Helper()
	for _, k := range w.out.Keys("backups/user/anne/log/") {
		if _, _, ok := history.ParseLogKey("user/anne", k); !ok {
			w.t.Errorf("%s: %s is left", at, k)
		}
	}
}

// An object beside the log means nothing once the log has the commit: its removal has failed, or the request
// to put it was late. It never means anything beside another backup. Readers then use the log, and report
// losses. The next export removes the object.
func TestCopyingKeyLeft(t *testing.T) {
	w := mergedSinceExport(t)
	w.finishes("at first")
	id := found(t, w.store).Info.ID
	beside := func(s *memstore.Store, n uint64, id string) {
		t.Helper()
		if _, err := s.Put(t.Context(), history.CopyingKey("user/anne", n, id), strings.NewReader(history.CopyingBody), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for n := uint64(1); n <= 8; n++ {
		beside(w.out, n, id)
		if w.unfinished(fmt.Sprint("left of commit ", n)) {
			t.Errorf("commit %d: the log has it", n)
		}
		w.finishes(fmt.Sprint("left of commit ", n))
	}
	other := repository.NewID()
	beside(w.out, 99, other)
	if w.unfinished("of another backup") {
		t.Error("an object of another backup counts")
	}
	w.out.Lose(history.CopyingKey("user/anne", 99, other))
	beside(w.out, 99, id)
	if !w.unfinished("of commit 99") {
		t.Error("an export up to commit 99 is not noticed")
	}
	w.out.Lose(history.CopyingKey("user/anne", 99, id))

	beside(w.out, 8, id)
	w.out.Lose(history.LogKey("user/anne", 8))
	w.finishes("lost in the export") // whatever is reported until then
	beside(w.store, 7, id)
	w.store.Lose(history.LogKey("user/anne", 8))
	f := found(t, w.store)
	m, err := f.Load(t.Context(), history.Moment{Tolerant: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := f.Incomplete(m); err == nil || errors.Is(err, history.ErrUnfinished) {
		t.Errorf("commit 8 is lost, and the object beside the log is of commit 7: %v", err)
	}
}

// An import begins where a move was interrupted that had more commits, and was given up. Its object would make
// the backup unfinished until the log has that many.
func TestImportOverALongerCopy(t *testing.T) {
	w := mergedSinceExport(t)
	w.finishes("at first")
	f, to := found(t, w.out), memstore.New(w.clock.clock)
	key := history.CopyingKey("user/anne", 99, f.Info.ID)
	if _, err := to.Put(t.Context(), key, strings.NewReader(history.CopyingBody), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	h := newHostWith(t, w.clock.options, to)
	if _, err := h.importFound(f, repository.LockOptions{Owner: "test", Host: "host", Now: w.clock.clock}); err != nil {
		t.Fatal(err)
	}
	if left := to.Keys(history.CopyingPrefix("user/anne")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	h.expectSame("anne", w.inbox)
}

// The backup loses the commit that an interrupted export has not put yet. The next export finds the loss, and
// after the repair of the backup it completes the copy.
func TestLossBeforeTheExportIsFinished(t *testing.T) {
	w := mergedSinceExport(t)
	newest := history.LogKey("user/anne", 8)
	w.out.SetFaults(func(op, key string) error {
		if op == "put" && key == newest {
			return errDenied
		}
		return nil
	}, nil)
	err := w.export()
	w.out.SetFaults(nil, nil)
	if !errors.Is(err, errDenied) || !w.unfinished("interrupted") {
		t.Fatalf("%v: this test no longer covers its case", err)
	}
	w.store.Lose(newest)
	if err := w.export(); err == nil || !strings.Contains(err.Error(), "verify --repair") {
		t.Errorf("an export of what has lost a commit: %v", err)
	}
	if !w.unfinished("after the loss") {
		t.Error("the copy counts as complete")
	}
	f := found(t, w.store)
	_, err = verify.Repair(t.Context(), f, verify.RepairOptions{Problem: func(verify.Problem) {}, Report: func(verify.Change) {},
		Lock: repository.LockOptions{Owner: "test", Host: "host", Now: w.clock.clock}, Others: []repository.Config{f.Partition}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.export(); err != nil {
		t.Fatal(err)
	}
	w.nothingBeside("after the repair")
	lost := 0
	_, err = verify.Run(t.Context(), found(t, w.out), verify.Options{Report: func(p verify.Problem) {
		if lost++; !p.Lost {
			t.Errorf("verify: %s", p)
		}
	}})
	if err != nil || lost == 0 {
		t.Errorf("%v: verify reports %d losses", err, lost)
	}
}

// While a backup is exported, it gets mail, is merged, and somebody else exports it to the same place, between
// any two requests of the first export. That other export is stopped at one of its requests. Both leave a copy
// that the next export completes, and no reader reports a loss.
func TestTwoExportsAtOnce(t *testing.T) {
	t.Parallel()
	for _, stop := range []int{0, 3} { // 0: the other export is not stopped
		w := mergedSinceExport(t)
		was, had, inbox, now := w.out.Snapshot(), w.store.Snapshot(), w.inbox.clone(), w.clock.now
		for n := firstCall() - 1; w.exportedMeanwhile(n, stop); n += stride() {
			w.out.Rollback(was, "", false)
			w.store.Rollback(had, "", false)
			w.inbox, w.clock.now = inbox.clone(), now
		}
	}
}

// exportedMeanwhile exports twice at once. It returns false if the first export had fewer requests.
func (w *unfinishedWorld) exportedMeanwhile(request, stop int) bool {
	t, net := w.t, faultstore.New(w.store)
	at := fmt.Sprintf("request %d, stopped at %d", request, stop)
	other := newHostWith(t, w.clock.options, w.out)
	defer other.stop()
	net.Add(faultstore.Fault{Skip: request, Count: 1, Call: func(string, string) {
		w.grow()
		if stop > 0 {
			f, _ := fault(stop, 1<<30, errDenied)
			w.out.SetFaults(ofChanges(f), nil)
		}
		_, err := transfer.Copy(t.Context(), found(t, w.store), other.set.Partitions()[0], nil)
		w.out.SetFaults(nil, nil)
		if err != nil && !errors.Is(err, errDenied) {
			t.Errorf("%s: the other export: %v", at, err)
		}
		w.unfinished(at + ", meanwhile")
	}})
	f := found(t, w.store)
	f.Partition.Store = net
	_, err := transfer.Copy(t.Context(), f, w.set.set.Partitions()[0], nil)
	if w.unfinished(at) != errors.Is(err, history.ErrUnfinished) || err != nil && !errors.Is(err, history.ErrUnfinished) {
		t.Errorf("%s: %v", at, err)
	}
	w.finishes(at)
	return net.Struck() > 0
}

// grow lets the backup get mail on two days, and merges what it had.
func (w *unfinishedWorld) grow() {
	h := newHostWith(w.t, w.clock.options, w.store)
	defer h.stop()
	for range 2 {
		w.inbox.deliver(mail(int(w.inbox.lastUID)+20, 500))
		h.sync("anne", w.inbox)
		w.clock.now = w.clock.now.Add(5 * 24 * time.Hour)
	}
	w.inbox.deliver(mail(int(w.inbox.lastUID)+20, 500))
	h.sync("anne", w.inbox)
	compacted(w.t, w.store, w.clock.clock)
}

// An export begins while a repair of the copy reads it. The repair ends when it has the lock.
func TestExportBeginsDuringARepair(t *testing.T) {
	w := mergedSinceExport(t)
	w.garble(history.CheckpointKey("user/anne", 2))
	f, net := found(t, w.out), faultstore.New(w.out)
	f.Partition.Store = net
	begun := false
	net.Add(faultstore.Fault{Match: func(op, _ string) bool { return op == "put" }, Call: func(_, key string) { // the first one is of a lease, after verify
		if begun {
			return
		}
		begun = true
		w.interrupted()
	}})
	_, err := verify.Repair(t.Context(), f, verify.RepairOptions{Problem: func(verify.Problem) {}, Report: func(verify.Change) {},
		Lock: repository.LockOptions{Owner: "test", Host: "host", Now: w.clock.clock}, Others: []repository.Config{f.Partition}})
	if !begun || !errors.Is(err, history.ErrUnfinished) {
		t.Errorf("begun: %v; repair: %v", begun, err)
	}
	if err := w.export(); err != nil {
		t.Error(err)
	}
}

// A commit of an unfinished copy is damaged. Readers report both.
func TestDamageInAnUnfinishedExport(t *testing.T) {
	w := mergedSinceExport(t)
	w.interrupted()
	for _, key := range []string{history.LogKey("user/anne", 2), history.SegmentKey("user/anne", 1, 7)} {
		w.garble(key)
	}
	f := found(t, w.out)
	m, err := f.Load(t.Context(), history.Moment{Tolerant: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := f.Incomplete(m); !errors.Is(err, history.ErrUnfinished) || !strings.Contains(err.Error(), "has also lost") {
		t.Error(err)
	}
}

// garble puts a damaged object into the export.
func (w *unfinishedWorld) garble(key string) {
	w.t.Helper()
	if _, err := w.out.Put(w.t.Context(), key, strings.NewReader("damaged"), objstore.PutOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// interrupted exports up to the newest commit.
func (w *unfinishedWorld) interrupted() {
	w.t.Helper()
	w.out.SetFaults(func(op, key string) error {
		if op == "put" && key == history.LogKey("user/anne", 8) {
			return errDenied
		}
		return nil
	}, nil)
	err := w.export()
	w.out.SetFaults(nil, nil)
	if !errors.Is(err, errDenied) {
		w.t.Fatalf("%v: this test no longer covers its case", err)
	}
}

// An import was interrupted, and the user syncs before it is repeated: the new backup continues the log that
// was copied. It does not count as an unfinished copy.
func TestSyncAfterAnInterruptedImport(t *testing.T) {
	w := mergedSinceExport(t)
	store := memstore.New(w.clock.clock)
	h := newHostWith(t, w.clock.options, store)
	store.SetFaults(func(op, key string) error {
		if op == "put" && key == history.LogKey("user/anne", 8) {
			return errDenied
		}
		return nil
	}, nil)
	_, err := h.importFound(found(t, w.store), repository.LockOptions{Owner: "test", Now: w.clock.clock})
	store.SetFaults(nil, nil)
	if !errors.Is(err, errDenied) || store.Bytes(history.SegmentKey("user/anne", 1, 7)) == nil {
		t.Fatalf("%v, %q: this test no longer covers its case", err, store.Keys("backups/"))
	}
	h.syncUntil("anne", w.inbox)
	f := found(t, store)
	m, err := f.Load(t.Context(), history.Moment{Tolerant: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := f.Incomplete(m); errors.Is(err, history.ErrUnfinished) {
		t.Error(err)
	}
	for _, k := range store.Keys("backups/user/anne/log/") {
		if _, _, ok := history.ParseLogKey("user/anne", k); !ok {
			t.Errorf("%s is beside the log", k)
		}
	}
}

// A move finds the object of a copy that was interrupted and had more commits, and cannot remove it. It ends before
// the seal, so that the backup stays in use.
func TestMoveToAnUnfinishedCopyThatStays(t *testing.T) {
	w := mergedSinceExport(t)
	f := found(t, w.store)
	if _, err := w.out.Put(t.Context(), history.CopyingKey("user/anne", 99, f.Info.ID), strings.NewReader(history.CopyingBody), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	w.out.SetFaults(func(op, key string) error {
		if op == "delete" && strings.HasPrefix(key, history.CopyingPrefix("user/anne")) {
			return errDenied
		}
		return nil
	}, nil)
	lock := repository.LockOptions{Owner: "test", Host: "tool", Now: w.clock.clock}
	move := func() error {
		_, err := transfer.Move(t.Context(), []repository.Config{f.Partition}, repository.UserName("anne"), w.set.set.Partitions()[0], lock, nil)
		return err
	}
	if err := move(); !errors.Is(err, errDenied) {
		t.Errorf("%v, want %v", err, errDenied)
	}
	if end, err := f.LogEnd(t.Context()); err != nil || end.Seal != nil {
		t.Errorf("the log has a seal: %+v, %v", end.Seal, err)
	}
	w.out.SetFaults(nil, nil)
	if err := move(); err != nil {
		t.Fatal(err)
	}
	if left := w.out.Keys(history.CopyingPrefix("user/anne")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
