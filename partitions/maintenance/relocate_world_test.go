package maintenance_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// moving is a backup with kept moments, whose packs have moved: all that the log does not name.
type moving struct {
	*past
	moved []string // packs
}

func newMoving(t *testing.T) *moving { return movingOf(newPast(t)) }

func movingOf(p *past) *moving {
	w := &moving{past: p}
	w.policy.Keep, w.policy.Daily, w.policy.Weekly = 4*24*time.Hour, 2, 2
	w.create("inbox")
	for day := range 16 {
		w.days(1)
		w.deliver("inbox", 2)
		w.expunge("inbox", 1)
		if day == 11 {
			w.checkpoint()
		}
	}
	done, err := w.retain()
	w.must(err)
	w.catchUp()
	if done.Cut.Number == 0 || len(done.Kept) < 2 {
		w.t.Fatalf("%+v", done)
	}
	w.checkpoint()
	w.days(4) // so that the commit of each checkpoint is old
	w.movePacks()
	return w
}

// movePacks does what a collection does: the entries of some packs are in another one, as notes record.
func (w *moving) movePacks() {
	w.t.Helper()
	inLog := w.inLog()
	w.moved = nil
	places := map[history.Place]bool{}
	for _, n := range w.checkpoints() {
		m, err := history.ReadCheckpoint(w.t.Context(), w.memory, anne, n)
		w.must(err)
		for p, err := range m.AllPlaces() {
			w.must(err)
			if strings.HasPrefix(p.Object, "packs/") && !inLog[p.Object] {
				places[p] = true
			}
		}
		w.must(m.Close())
	}
	for p := range places {
		now := w.pack(p)
		w.must(repository.NoteMoved(w.t.Context(), w.memory, false, w.now, p.Object, []string{p.Entry}, now))
		w.moved = append(w.moved, p.Object)
	}
	slices.Sort(w.moved)
	w.moved = slices.Compact(w.moved)
	if len(w.moved) < 6 {
		w.t.Fatalf("%d packs have moved", len(w.moved))
	}
	for _, key := range w.moved {
		w.must(w.memory.Delete(w.t.Context(), key))
	}
}

// inLog returns the objects that places in the log name.
func (w *moving) inLog() map[string]bool {
	w.t.Helper()
	out := map[string]bool{}
	for key := range w.objects(history.LogPrefix(anne)) {
		for p, err := range history.LogPlaces(w.t.Context(), w.memory, key) {
			w.must(err)
			out[p.Object] = true
		}
	}
	return out
}

// again restores the world that it is called in, as often as the result is called.
func (w *moving) again() (restore func()) {
	start, at := w.memory.Snapshot(), w.now
	return func() {
		w.t.Helper()
		w.memory.Rollback(start, "", false)
		w.now = at
		fold, err := w.found.Load(w.t.Context(), history.Moment{})
		w.must(errors.Join(err, w.fold.Close()))
		w.fold, w.tip = fold, fold.Tip()
	}
}

// relocate runs Relocate.
func (w *moving) relocate() (maintenance.Relocated, error) {
	w.t.Helper()
	f := *w.found
	f.Partition.Store = w.store
	u, err := repository.BeginUpkeep(w.t.Context(), &f, w.options().Lock)
	if err != nil {
		return maintenance.Relocated{}, err
	}
	noted := func(key string) bool { return strings.HasPrefix(key, "packs/") }
	done, err := maintenance.Relocate(u.Context(), &f, u, maintenance.NewMoved(w.store, noted), maintenance.RelocateOptions{Lock: w.options().Lock})
	return done, errors.Join(err, u.End(context.WithoutCancel(w.t.Context())))
}

func (w *moving) mustRelocate() maintenance.Relocated {
	w.t.Helper()
	done, err := w.relocate()
	w.must(err)
	return done
}

// withoutNotes calls fn while the notes about the packs are gone.
func (w *moving) withoutNotes(fn func()) {
	w.t.Helper()
	s := w.memory.Snapshot()
	for _, key := range w.moved {
		note, _ := history.MovedKey(key)
		w.must(w.memory.Delete(w.t.Context(), note))
	}
	fn()
	w.memory.Rollback(s, "", false)
}

// unread counts the messages of all checkpoints that cannot be read.
func (w *moving) unread() (n int) {
	w.t.Helper()
	o := history.NewObjects(w.memory, 0)
	for _, at := range w.checkpoints() {
		m, err := history.ReadCheckpoint(w.t.Context(), w.memory, anne, at)
		w.must(err)
		for s, err := range m.Messages() {
			w.must(err)
			body, err := history.OpenMessage(w.t.Context(), o, s, m.Places)
			if err != nil {
				n++
				continue
			}
			w.must(body.Close())
		}
		w.must(m.Close())
	}
	return n
}
