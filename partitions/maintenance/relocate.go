package maintenance

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// relocateNights is about how many nights a backup waits until its places are looked at.
// What changes meanwhile is then put once, and retention, which waits for a day after that, goes on.
const relocateNights = 7

// RelocateNight reports whether the places of a backup are looked at in the night of now. Each night
// chooses other backups, whatever days of the week have one.
func RelocateNight(path string, now time.Time) bool {
	night := fnv.New32a()
	_, _ = fmt.Fprintf(night, "%d %s", now.Unix()/86400, path) // a hash returns no error
	return night.Sum32()%relocateNights == 0
}

// RelocateOptions are the options of Relocate.
type RelocateOptions struct {
	Lock repository.LockOptions // whose clock is a witness of the store's
	Pack pack.Options
}

// Relocated is what Relocate has done.
type Relocated struct {
	Checkpoints int // that were put again
	Places      int // in them, that lead to other packs
}

// Relocate puts those checkpoints of a backup again whose places name removed packs, with the same state
// and the places that the notes about these packs lead to. A restore then needs no note.
//
// Every new place is one that the former place has led to, so a collection finds the same entries used
// before, during and after it. The former blocks stay for a day (listing.replaced). A checkpoint of a
// young commit is left to a later night: a daemon may be putting it.
//
// Only retention removes the former blocks. So nothing is done for a backup that it cannot shorten, or has
// not shortened yet.
//
// u is the upkeep of the backup, which the caller has begun.
func Relocate(ctx context.Context, f *repository.Found, u *repository.Upkeep, moved *Moved, o RelocateOptions) (Relocated, error) {
	ctx, end := during(ctx, u)
	defer end()
	up := newRetainer(f, u, RetainOptions{Lock: o.Lock})
	r := &relocation{retainer: up, path: f.Path, store: up.store, moved: moved, opt: o.Pack, sound: map[string]bool{}, former: map[string]bool{}}
	err := r.run(ctx)
	if r.last != nil {
		err = errors.Join(err, r.last.Close())
	}
	if err != nil {
		err = fmt.Errorf("places of %s: %w", f.Name(), err)
	}
	return r.done, err
}

// relocation is one run of Relocate.
type relocation struct {
	retainer *retainer // that would remove the former blocks
	path     string
	store    guarded
	moved    *Moved
	opt      pack.Options
	blocks   history.MovedPlaces
	sound    map[string]bool // blocks that need not be read back
	former   map[string]bool // objects with blocks: whether one that no checkpoint names has old places
	last     *history.Mem    // the checkpoint that was put last; nil: none
	done     Relocated
	first    error // of a checkpoint
	more     int   // checkpoints with errors
}

func (r *relocation) run(ctx context.Context) error {
	if err := r.retainer.list(ctx); err != nil {
		return err
	}
	if cleans, err := r.retentionCleans(ctx); err != nil || !cleans {
		return err
	}
	have := &r.retainer.have
	now, err := r.retainer.storeNow(ctx)
	if errors.Is(err, storeclock.ErrUncertain) {
		return nil // another night
	}
	if err != nil {
		return err
	}
	r.moved.begin()
	for _, c := range have.checkpoints {
		if !have.settledBefore(c.number, now.Add(-MinLogAge)) {
			continue
		}
		err := r.checkpoint(ctx, c.number)
		switch {
		case err == nil, errors.Is(err, objstore.ErrPrecondition):
			continue // somebody has replaced it meanwhile
		case errors.Is(err, errLed):
			return r.failed() // a later run finds other places
		case r.first == nil:
			r.first = fmt.Errorf("checkpoint %d: %w", c.number, err)
		default:
			r.more++
		}
		if fails(ctx, err) {
			break
		}
	}
	return r.failed()
}

// failed returns the first error of a checkpoint.
func (r *relocation) failed() error {
	if r.more > 0 {
		return fmt.Errorf("%w (and %d more errors)", r.first, r.more)
	}
	return r.first
}

// fails reports whether other requests will fail as well, or whatever else needs a temporary file.
func fails(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, history.ErrTemporaryFile) || repository.IsStoreError(err) && !errors.Is(err, objstore.ErrNotExist)
}

// retentionCleans reports whether retention would remove the former blocks: it has removed the beginning of the
// log before, without an interruption, and nothing keeps it from going on. It reports such things itself.
func (r *relocation) retentionCleans(ctx context.Context) (bool, error) {
	if log := r.retainer.have.log; len(log) == 0 || log[0].from == 1 {
		return false, nil
	}
	if err := r.retainer.sound(ctx); err != nil {
		if fails(ctx, err) {
			return false, err
		}
		return false, nil
	}
	return r.retainer.base+1 == r.retainer.have.log[0].from, nil
}

// checkpoint puts a checkpoint again, if any of its places leads elsewhere.
func (r *relocation) checkpoint(ctx context.Context, n uint64) (err error) {
	w, _ := watch(r.store, history.CheckpointKey(r.path, n))
	m, err := history.ReadCheckpoint(ctx, w, r.path, n)
	if err != nil {
		return err
	}
	defer func() {
		if m != r.last {
			err = errors.Join(err, m.Close())
		}
	}()
	if len(w.got) != 1 || w.got[0].ETag == "" {
		return nil // its version is unknown
	}
	for object, sum := range m.Blocks() {
		r.sound[blockKey(object, sum)] = true // as sound as before
	}
	changed, err := m.MovePlaces(&r.blocks, func(p history.Place) (history.Place, error) { return r.moved.now(ctx, p) })
	if err != nil {
		return err
	}
	former, err := r.leaveFormer(ctx, m)
	if err != nil || changed == 0 && !former {
		return err
	}
	if err := r.put(ctx, m, n, w.got[0].ETag); err != nil {
		return err
	}
	if r.last != nil {
		err = r.last.Close()
	}
	r.last = m
	r.done.Checkpoints++
	r.done.Places += changed
	return err
}

// leaveFormer lets the next put of a checkpoint take its blocks out of objects that have old places as
// well: as long as such an object is needed, its places count, and so does the note that they need.
func (r *relocation) leaveFormer(ctx context.Context, m *history.Mem) (any bool, err error) {
	for object := range m.Blocks() {
		is, known := r.former[object]
		if !known {
			if is, err = r.hasFormer(ctx, m, object); err != nil {
				return false, err
			}
			r.former[object] = is
		}
		any = any || is
	}
	if !any {
		return false, nil
	}
	if err := m.Rehouse(func(object string) bool { return r.former[object] }); err != nil || r.last == nil {
		return true, err
	}
	return true, m.Reuse(r.last, func(object, _ string) bool { return !r.former[object] })
}

func (r *relocation) hasFormer(ctx context.Context, m *history.Mem, object string) (bool, error) {
	if other, err := m.HasOtherPlaces(ctx, object); err != nil || !other {
		return false, err
	}
	for p, err := range history.ObjectPlaces(ctx, r.store, object) {
		if err != nil {
			return false, err
		}
		if now, err := r.moved.now(ctx, p); err != nil || now != p {
			return err == nil, err
		}
	}
	return false, nil
}

// put replaces a checkpoint, and proves it. The answer to the put may be lost.
func (r *relocation) put(ctx context.Context, m *history.Mem, n uint64, etag string) error {
	err := m.ReplaceCheckpoint(ctx, r.opt, etag, func() error {
		var bad error
		err := m.CheckBlocks(ctx, r.sound, func(object string, err error) { bad = errors.Join(bad, fmt.Errorf("read back %s: %w", object, err)) })
		if err = errors.Join(err, bad); err == nil {
			err = r.moved.confirm(ctx)
		}
		return err
	})
	if err != nil && !objstore.IsTemporary(err) && !errors.Is(err, objstore.ErrPrecondition) {
		return err
	}
	same, rerr := r.isThere(ctx, m, n)
	switch {
	case rerr != nil:
		return rerr // nobody knows which version is there
	case same:
		return nil // also if the answer was lost, and a repetition was refused
	case err != nil:
		return err // the former version is there, or somebody else's
	}
	return fmt.Errorf("%w: read back, it has other places", history.ErrCorrupt)
}

// isThere reports whether a checkpoint has the places of m.
func (r *relocation) isThere(ctx context.Context, m *history.Mem, n uint64) (bool, error) {
	there, err := history.ReadCheckpoint(ctx, r.store, r.path, n)
	if err != nil {
		return false, err
	}
	defer there.Close()
	same, err := there.SamePlaces(m)
	if err != nil || !same {
		return false, err
	}
	diff, err := there.Difference(m)
	if err == nil && diff != "" {
		err = fmt.Errorf("%w: read back, it differs: %s", history.ErrCorrupt, diff)
	}
	return true, err
}

// settledBefore reports whether commit n was put before a time, as far as the list shows. Commits are
// merged and removed only when they are older than MinLogAge.
func (l *listing) settledBefore(n uint64, t time.Time) bool {
	for _, o := range l.log {
		if !o.segment && o.from == n {
			return !o.modified.IsZero() && o.modified.Before(t)
		}
	}
	return true
}

// putSlowly is how much younger than its commit a checkpoint of a daemon can be, and an hour.
const putSlowly = 13 * time.Hour

// replaced reports whether a checkpoint was put again within the last day: readers of the former version
// may still need its blocks. A daemon puts a checkpoint soon after its commit. A time in the future, from while a
// clock was wrong, shows nothing: no checkpoint is put again then.
func (l *listing) replaced(now time.Time) bool {
	since := now.Add(-retainEvery)
	for _, c := range l.checkpoints {
		if c.modified.After(since) && !c.modified.After(now.Add(aheadMargin)) && l.settledBefore(c.number, since.Add(-putSlowly)) {
			return true
		}
	}
	return false
}
