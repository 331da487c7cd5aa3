package collection

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// A note in moved/ is removed when no backup has named its pack for long (docs/design.md 5, "Notes that nothing needs").
// The list history.RetiredKey shows its way there: unused, then ending, then removed. A copy into the partition may put
// a note again at any time, so the list shows each removal before the request, and the copy reads it at its end.

const (
	// noteAge is how long nothing has named the pack of a note that is removed. No program remembers places for
	// as long: a daemon puts no checkpoint more than 12 hours after it has read the former one, and a restore ends
	// within days. Former versions of objects, and mirrors of the bucket, are seldom kept for longer.
	noteAge = 30 * 24 * time.Hour
	// endingAge is how long a note must have been on the list as ending before the count that finds it unused again.
	// A copy that ends before that is found by this count.
	endingAge = condemnedAge
	// mostRetired is how many notes a pass removes, unless Options have another number.
	mostRetired = 5000
	// mostList bounds the list, unless Options have another number: four million lines. The notes of other packs stay.
	mostList = 200 << 20
	// retiredLine is about how many bytes a line of the list has: a hash, and times that are mostly those of the line before.
	retiredLine = 50
	// removedKept is how long a line shows a removal. An index that knows the pack longer is made from the bucket again.
	removedKept = 3 * 365 * 24 * time.Hour
	// noteSlack is the resolution of the times of a store, and a margin.
	noteSlack = time.Minute
)

// unneeded is a note about a pack that no backup names: the pack, and when the note was put.
type unneeded [32 + 8]byte

func (u *unneeded) raw() []byte { return u[:] }

func newUnneeded(p Pack, modified time.Time) (u unneeded) {
	copy(u[:], p[:])
	binary.BigEndian.PutUint64(u[32:], uint64(modified.UnixNano()))
	return u
}

func (u *unneeded) pack() Pack          { return Pack(u[:32]) }
func (u *unneeded) modified() time.Time { return time.Unix(0, int64(binary.BigEndian.Uint64(u[32:]))) }

// since reports whether the note may have been put since a time. A time after now is that of a wrong clock, or of a copy of
// the bucket, and would be so every night.
func (u *unneeded) since(t, now time.Time) bool {
	at := u.modified()
	return !at.Add(noteSlack).Before(t) && !at.After(now.Add(noteSlack))
}

// unneededSet is a set of notes, sorted by pack.
type unneededSet = sortedSet[unneeded, *unneeded]

func newUnneededSet() *unneededSet { return newSortedSet[unneeded, *unneeded](packsOfBackup) }

// packsIn yields the packs of notes.
func packsIn(s *unneededSet) iter.Seq2[Pack, error] {
	return func(yield func(Pack, error) bool) {
		for u, err := range s.sorted() {
			if !yield(u.pack(), err) || err != nil {
				return
			}
		}
	}
}

// unneeded yields the notes that nothing needs: no backup names the pack, and no note that is needed leads to it; it
// does not exist, and is not on condemned.json; and no erasure has it on record.
func (p *pass) unneeded(do *sorted) iter.Seq2[unneeded, error] {
	return func(yield func(unneeded, error) bool) {
		if p.keepAll {
			return
		}
		led, there, erase, kept := inOrder(ofAll(p.count.moved)), beginErasing(p.there.sorted()), beginErasing(p.opt.Erase), beginErasing(p.keep)
		defer led.stop()
		defer there.stop()
		defer erase.stop()
		defer kept.stop()
		for u, err := range p.count.unneeded.sorted() {
			id := u.pack()
			_, needed := led.find(id)
			needed = needed || do.listed(history.PackKey(id))
			err = errors.Join(err, led.err)
			for _, other := range []*erasing{there, erase, kept} {
				has, herr := other.has(id)
				needed, err = needed || has, errors.Join(err, herr)
			}
			if (err != nil || !needed) && !yield(u, err) || err != nil {
				return
			}
		}
	}
}

// turn is one step of all notes.
type turn struct {
	began     time.Time // of the pass, before it has counted
	now       time.Time // before the list is put
	age       time.Duration
	removable bool      // the list has not changed lately
	most      int       // notes that end or are removed
	room      int64     // new lines
	until     time.Time // when the last removal is sent, by the clock of this host
	due       []Pack    // notes to remove
	ending    int
	changed   bool // a line
}

// decide returns the new line of a pack. note is nil if something needs the note, or if there is none.
func (t *turn) decide(n history.RetiredNote, note *unneeded) history.RetiredNote {
	switch {
	case note == nil:
		n.Unused, n.Ending = time.Time{}, time.Time{}
		if n.Removed.Add(removedKept).Before(t.began) {
			n.Removed = time.Time{}
		}
	case !n.Removed.IsZero() && !n.Removed.Add(removedAge).Before(t.began): // a request may be on its way
	case n.Unused.IsZero() || note.since(n.Unused, t.now):
		lost := !n.Removed.IsZero() && !note.since(n.Removed, t.now) // the removal had no effect
		n.Unused, n.Ending = t.now, time.Time{}
		if lost && t.ending < t.most {
			n.Ending = t.now // a copy may rely on the note since then
			t.ending++
		}
	case n.Ending.IsZero():
		if n.Unused.Add(t.age).Before(t.began) && t.ending < t.most {
			n.Ending = t.now
			t.ending++
		}
	case n.Ending.Add(endingAge).Before(t.began) && t.removable && len(t.due) < t.most:
		n = history.RetiredNote{Pack: n.Pack, Removed: t.now}
		t.due = append(t.due, Pack(n.Pack))
	}
	return n
}

// errNotesDenied reports that notes stay because of the rights of the keys.
var errNotesDenied = errors.New("the note is not needed any more, but the keys of this host may not remove it (docs/policies has the rights of this role)")

// retire removes notes that nothing needs, and changes the list. It comes after everything else.
func (p *pass) retire(ctx context.Context, do *sorted) error {
	if p.out.Notes == 0 || p.out.Blocking > 0 {
		return nil
	}
	t, err := p.changeRetired(ctx, do)
	if err != nil {
		return p.noneRetired(ctx, err)
	}
	p.out.Retiring = t.ending
	if p.opt.DryRun {
		p.out.Retired = len(t.due)
		return nil
	}
	return p.removeNotes(ctx, t)
}

// noneRetired reports an error of the list. All else is done, and what follows a collection must not wait for the list.
func (p *pass) noneRetired(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return errors.Join(cause, err)
	}
	if errors.Is(err, storeclock.ErrUncertain) {
		return err
	}
	if p.lease != nil {
		if lerr := p.lease.Check(); lerr != nil {
			return lerr
		}
	}
	what := ""
	if history.IsUnreadable(err) && !errors.Is(err, objstore.ErrNotExist) && !repository.IsStoreError(err) {
		what = " (ctl_backups verify --repair of any backup in the partition makes the list again)"
	}
	p.out.keep(history.RetiredKey, fmt.Errorf("no note is removed: %w%s", err, what))
	return nil
}

// removeSoon is how long after the time in the list a removal is sent. To make and to put a list may take longer: then none
// is sent.
const removeSoon = removedAge / 4

// removeNotes removes the notes that the list shows.
func (p *pass) removeNotes(ctx context.Context, t *turn) error {
	stuck := 0
	for _, id := range t.due {
		if p.opt.Lock.Now().After(t.until) || stuck == mostStuckNotes {
			return nil // the others end again
		}
		key, _ := history.MovedKey(history.PackKey(id))
		if err := p.lease.Check(); err != nil {
			return err
		}
		dctx, cancel := context.WithTimeout(ctx, removeTime)
		err := p.store.Delete(dctx, key)
		cancel()
		switch {
		case err == nil:
			p.out.Retired++
			stuck = 0
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, objstore.ErrDenied):
			p.out.keep(key, fmt.Errorf("%w: %w", errNotesDenied, err))
			return nil
		default:
			p.out.keep(key, fmt.Errorf("%w: %w", errDelete, err))
			stuck++
		}
	}
	return nil
}

// mostStuckNotes is how many removals of notes in a row may fail.
const mostStuckNotes = 5
