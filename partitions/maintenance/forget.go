package maintenance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// ForgetOptions are the options of Forget.
type ForgetOptions struct {
	RetainOptions // Policy counts only for the ages of objects
	Merge         MergeOptions
	// Until is the moment before which the history is removed: the beginning of a day (UTC), and at
	// most LastDay.
	Until time.Time
	// Messages are erased instead of the history, see EraseMessages. nil: the history is.
	Messages *Messages
	// Cutting is called before the first change that depends on Until, and again if bodies may have moved to new
	// packs since. If it was not called, another Until can be chosen. nil: it is not called.
	Cutting func(context.Context) error

	// Stale is for Sweep: what an earlier one has found since Appeared was reported last. nil = nothing is known, so
	// that Sweep finds it.
	Stale *StaleBlocks
	// Found is for Sweep, too: it is called with what it has found, before the first change that depends on it. nil:
	// it is not called.
	Found func(context.Context, *StaleBlocks) error
	// Since is for Sweep, too: when the erasure began, in store time. Relocate has changed nothing after it.
	Since time.Time
	// Moving is for Sweep, too: it is called before blocks are put into other objects. nil: it is not called.
	Moving func(context.Context) error
}

// ErrTooYoung reports history that cannot be removed yet.
var ErrTooYoung = errors.New("this history is too young to be removed")

// Forget removes the history of a backup before a time, and content that was deleted before it,
// whatever the policy keeps. Every later moment stays, without that content. u is the upkeep of the
// backup, which the caller has begun. After an interruption at any point, it can be called again. When
// it returns, blocks of checkpoints are left that daemons may be using: see Sweep.
func Forget(ctx context.Context, f *repository.Found, u *repository.Upkeep, o ForgetOptions) (RetainResult, error) {
	r := newForgetter(f, u, o)
	held, end := during(ctx, u)
	defer end()
	if err := r.runForget(held, o); err != nil {
		return r.done, fmt.Errorf("%s: %w", f.Name(), r.explained(held, err))
	}
	return r.done, nil
}

func newForgetter(f *repository.Found, u *repository.Upkeep, o ForgetOptions) *retainer {
	r := newRetainer(f, u, o.RetainOptions)
	r.forget, r.limit = true, o.Until.UTC()
	r.cutting, r.moving, r.packing = o.Cutting, o.Moving, o.Merge.Packing
	r.messages, r.mergeBefore = o.Messages, o.Merge.Before
	return r
}

func (r *retainer) runForget(ctx context.Context, o ForgetOptions) (err error) {
	if r.f.Aside != "" {
		return fmt.Errorf("%s: %w", r.f.Aside, repository.ErrAside)
	}
	if r.now, err = r.storeNow(ctx); err != nil {
		return err
	}
	if last := LastDay(r.now, r.o.LogMinAge); r.limit.After(last) || !r.limit.Equal(r.limit.Truncate(24*time.Hour)) {
		return fmt.Errorf("%w: the time must be the beginning of a day in UTC, at most %s", ErrTooYoung, last.Format(time.RFC3339))
	}
	if r.o.Before != nil {
		if err := r.o.Before(ctx, r.f); err != nil {
			return err
		}
	}
	if err := r.oldEnough(ctx, o.Merge.Before); err != nil {
		return err
	}
	if err := r.succeed(ctx); err != nil {
		return err
	}
	o.Merge.Relist = true
	m := NewMerger(r.f.Partition, o.Merge)
	job := m.Add(ctx, r.f, r.upkeep)
	if err := errors.Join(m.Flush(ctx), job.Err); err != nil {
		return err
	}
	r.cutBegun = false
	if err := r.cutOff(ctx); err != nil {
		return err
	}
	if _, err := r.scrub(ctx); err != nil {
		return err
	}
	if err := r.findStale(ctx); err != nil {
		return err
	}
	_, err = r.rehouse(ctx)
	return err
}

// beginCutting comes before each change that depends on the limit.
func (r *retainer) beginCutting(ctx context.Context) error {
	if r.cutBegun || r.cutting == nil {
		return nil
	}
	r.cutBegun = true
	return r.cutting(ctx)
}

// relist lists the backup again. It reports whether it has a log.
func (r *retainer) relist(ctx context.Context) (bool, error) {
	r.have = listing{}
	err := r.list(ctx)
	return len(r.have.log) > 0, err
}

// oldEnough returns ErrTooYoung if a commit before the limit is in an object that can neither be merged nor removed:
// the backup was moved or imported lately. Nothing has changed then.
func (r *retainer) oldEnough(ctx context.Context, before time.Time) error {
	if there, err := r.relist(ctx); err != nil || !there {
		return err
	}
	for _, o := range r.have.log {
		if o.segment || !o.modified.IsZero() && o.modified.Before(before) {
			continue
		}
		at, err := r.madeAt(ctx, o.from)
		if err == nil && at.Before(r.limit) {
			err = r.tooYoung(o.from, at)
		}
		return err
	}
	return nil
}

func (r *retainer) tooYoung(n uint64, at time.Time) error {
	return fmt.Errorf("%w: commit %d, of %s: it can be removed %s after its object was put here, if no object has later commits, too: run erase again then", ErrTooYoung,
		n, at.UTC().Format(time.RFC3339), r.o.LogMinAge)
}

// succeed puts a commit after the newest one, if that belongs to the history that is removed: the
// newest commit is never removed.
func (r *retainer) succeed(ctx context.Context) error {
	if there, err := r.relist(ctx); err != nil || !there {
		return err
	}
	if err := r.notSealed(ctx); err != nil {
		return err
	}
	at, err := r.madeAt(ctx, r.have.newest)
	if err != nil || at.IsZero() || !at.Before(r.limit) {
		return err
	}
	if err := r.newestNotAhead(ctx); err != nil {
		return err
	}
	if err := r.beginCutting(ctx); err != nil {
		return err
	}
	_, err = r.record(ctx)
	return err
}

// newestNotAhead returns an error if the newest state, which is before the limit, cannot be cut off later.
func (r *retainer) newestNotAhead(ctx context.Context) error {
	if err := r.sound(ctx); err != nil {
		return err
	}
	m, err := r.f.Load(ctx, history.Moment{Now: r.now})
	if err != nil {
		return err
	}
	return errors.Join(notAhead(m, r.limit), m.Close())
}

// forgotten returns the events of the commit that records the removal.
func (r *retainer) forgotten() []history.Event {
	r.done.Pruned = true
	events := []history.Event{&history.PruneEvent{Before: r.limit}}
	if r.cut.Number > 0 {
		events = append(events, &history.RetainedEvent{From: 1, To: r.cut.Number})
	}
	return events
}

// cutOff removes the log and the checkpoints before the limit, as retention does. A checkpoint of the
// state at the limit stays.
func (r *retainer) cutOff(ctx context.Context) error {
	if there, err := r.relist(ctx); err != nil || !there {
		return err
	}
	if err := r.sound(ctx); err != nil {
		return err
	}
	if _, err := r.survey(ctx); err != nil {
		return err
	}
	next := max(r.cut.Number, r.base) + 1
	at, err := r.madeAt(ctx, next)
	if err != nil {
		return err
	}
	if at.Before(r.limit) {
		return r.tooYoung(next, at)
	}
	if next == 1 {
		return nil // everything is newer
	}
	older, err := r.laterMoments(ctx)
	if err != nil {
		return err
	}
	r.stay = map[uint64]bool{next - 1: true}
	for _, m := range older {
		r.stay[m.Number] = true
	}
	cut := r.cut.Number > 0
	r.cut.Number = next - 1
	if cut {
		if err := r.fold(ctx); err != nil {
			return err
		}
	}
	if err := r.findNeeded(ctx); err != nil {
		return err
	}
	if err := r.momentsNotAhead(ctx, next-1, older); err != nil {
		return err
	}
	if !cut && !r.removes() {
		return nil
	}
	if err := r.beginCutting(ctx); err != nil {
		return err
	}
	if cut {
		if _, err := r.record(ctx); err != nil {
			return err
		}
	}
	return r.remove(ctx)
}

// removes reports whether remove has anything to do.
func (r *retainer) removes() bool {
	return len(r.doomedLog()) > 0 || slices.ContainsFunc(r.have.checkpoints, func(c checkpointObject) bool { return c.number < r.cut.Number && !r.stay[c.number] })
}

// momentsNotAhead is notAhead for the state after commit n, before which the log goes, and for the later single moments
// before the log. If retention has cut past the limit, they may have later deletions, but none later than
// themselves. Sweep does not look at them again: a clock that was wrong since the erasure is no reason to stop.
func (r *retainer) momentsNotAhead(ctx context.Context, n uint64, older []history.Kept) error {
	limits := map[uint64]time.Time{n: r.limit}
	for _, m := range older {
		own := m.Time
		if own.After(r.now) { // without its commit, nobody knows better
			own = r.now
		}
		limits[m.Number] = own.Truncate(time.Second).Add(time.Second) // tombstones have whole seconds
		if r.sweeps {
			delete(limits, m.Number)
		}
	}
	for number, limit := range limits {
		m, err := history.ReadCheckpoint(ctx, r.store, r.f.Path, number)
		if err != nil {
			return err
		}
		if err := errors.Join(notAhead(m, limit), m.Close()); err != nil {
			return err
		}
	}
	return nil
}

// notAhead returns an error if a state from before a limit has content with a time of deletion that is not: its
// commit has a wrong time, and a prune event does not drop the content.
func notAhead(m *history.Mem, limit time.Time) error {
	at, err := deletedAhead(m, limit)
	if err == nil && !at.IsZero() {
		err = fmt.Errorf("the time of a deletion before %s is wrong, %s, because the store's clock was wrong: this history cannot be erased apart from the rest", limit.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	return err
}

// deletedAhead returns a time of deletion in the state that is not before the limit, or zero.
func deletedAhead(m *history.Mem, limit time.Time) (time.Time, error) {
	for _, kind := range history.ItemKinds() {
		for i, err := range m.Items(kind) {
			if err != nil {
				return time.Time{}, err
			}
			if !i.Deleted.Before(limit) {
				return i.Deleted, nil
			}
		}
	}
	for box, err := range m.Mailboxes() {
		if err != nil {
			return time.Time{}, err
		}
		if !box.Deleted.Before(limit) {
			return box.Deleted, nil
		}
		if box.Live == box.Records {
			continue
		}
		for rec, err := range m.Records(box.UniqueID, 0) {
			if err != nil {
				return time.Time{}, err
			}
			if rec.Expunged >= limit.Unix() {
				return time.Unix(rec.Expunged, 0), nil
			}
		}
	}
	return time.Time{}, nil
}

// laterMoments returns the single moments before the log that are not before the limit.
func (r *retainer) laterMoments(ctx context.Context) (keep []history.Kept, err error) {
	older, err := r.olderMoments(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range older {
		switch {
		case m.Time.IsZero():
			return nil, fmt.Errorf("checkpoint %d: nobody knows from when it is: run ctl_backups verify", m.Number)
		case !m.Time.Before(r.limit):
			keep = append(keep, m)
		}
	}
	return keep, nil
}
