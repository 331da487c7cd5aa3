package maintenance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/packing"
)

// merge puts the segment of a unit, proves it, and removes the single commits. After a
// failure at any point everything can be read, and the next run continues.
//
// When the lease was taken, the backup was proven to be unchanged since it was found. Only another
// holder of the lease could have replaced it since. A segment that arrives in another backup does no
// harm there, like a delayed request. A removal would, so that is proven again before it.
func (m *Merger) merge(ctx context.Context, u *unit) error {
	ctx, end := during(ctx, u.job.Upkeep)
	defer end()
	if !u.exists {
		if err := m.put(ctx, u); err != nil {
			return err
		}
	}
	key := history.SegmentKey(u.job.Found.Path, u.from, u.to)
	if err := m.provePacks(ctx, u); err != nil {
		err = fmt.Errorf("%s: its packs were removed before it was put: %w", key, err)
		if u.won && u.job.Upkeep.Check() == nil {
			err = errors.Join(err, m.p.Store.Delete(ctx, key)) // readers would prefer it to the single commits
		}
		return err
	}
	if err := m.prove(ctx, u); err != nil {
		return fmt.Errorf("%s: the single commits are kept: %w", key, err)
	}
	if err := sameBackup(ctx, u.job.Found); err != nil {
		return err
	}
	return m.remove(ctx, u)
}

// put builds the segment and puts it if it is absent. After an unclear answer, or if there
// is a segment already, prove decides about the object that exists.
func (m *Merger) put(ctx context.Context, u *unit) error {
	b := history.NewSegmentBuilder(u.job.Found.Path, m.o.Pack)
	for _, c := range u.commits {
		r, err := c.Reader()
		if err == nil {
			err = b.Add(r, func(p history.Place) (history.Place, error) {
				if e, is := m.erased(c.Header.Number, p.Chunk); is {
					return e, nil
				}
				return u.place(p)
			})
		}
		if err != nil {
			return err
		}
	}
	key, object, err := b.Finish()
	if err != nil {
		return err
	}
	if err := u.job.Upkeep.Check(); err != nil {
		return err
	}
	info, err := m.p.Store.Put(ctx, key, bytes.NewReader(object), objstore.PutOptions{IfAbsent: true})
	u.at = info.StoreTime
	if !errors.Is(err, objstore.ErrExist) {
		u.job.Segments++
		u.job.Commits += len(u.commits)
	}
	if u.won = err == nil; u.won {
		return nil
	}
	info, serr := m.p.Store.Stat(ctx, key)
	if serr != nil {
		return errors.Join(err, serr)
	}
	u.at = info.StoreTime
	return nil
}

// packsKept is how long after its pack a segment may be put without asking for the pack again.
const packsKept = time.Hour

// provePacks asks again for the packs of a segment that was put long after them, because the host
// slept or was paused. Nothing had named them, so that collection may have removed them, or is
// about to.
func (m *Merger) provePacks(ctx context.Context, u *unit) error {
	asked := map[*packing.Pack]bool{}
	for _, bodies := range u.bodies {
		for _, at := range bodies {
			asked[at.Pack] = asked[at.Pack] || at.Pack.At.IsZero() || u.at.IsZero() || u.at.Sub(at.Pack.At).Abs() > packsKept
		}
	}
	var dead *history.Condemned
	for p, late := range asked {
		if !late {
			continue
		}
		var err error
		if dead == nil {
			dead, _, err = history.ReadCondemned(ctx, m.p.Store)
		}
		if err == nil && dead.Has(p.Key) {
			err = fmt.Errorf("%s: it was condemned before the segment named it", p.Key)
		}
		if err == nil {
			_, err = m.p.Store.Stat(ctx, p.Key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// erased returns the place of a chunk of commit n that was erased.
func (m *Merger) erased(n uint64, c history.ChunkID) (p history.Place, is bool) {
	if m.o.Erased == nil {
		return p, false
	}
	return m.o.Erased(n, c)
}

// place returns the place of a chunk after the merge.
func (u *unit) place(p history.Place) (history.Place, error) {
	backup := u.job.Found.Path
	n, ok := single(backup, p.Object)
	if !ok {
		return p, nil
	}
	at, ok := u.bodies[n][p.Chunk]
	switch {
	case !ok:
		return p, nil // in another commit: it leads to the segment that replaces that one
	case at.Pack.Key == "":
		return p, fmt.Errorf("chunk %s: its pack could not be put", p.Chunk)
	}
	p.Object, p.Entry = at.Pack.Key, at.Entry
	return p, nil
}

// single returns the number of a commit from the key of a single commit's object.
func single(backup, key string) (n uint64, ok bool) {
	n, _, ok = history.ParseLogKey(backup, key)
	return n, ok && key == history.LogKey(backup, n)
}

// remove removes the single commits in ascending order.
func (m *Merger) remove(ctx context.Context, u *unit) error {
	for i, info := range u.infos {
		if err := u.job.Upkeep.Check(); err != nil {
			return err
		}
		if err := m.p.Store.Delete(ctx, info.Key); err != nil {
			return err
		}
		u.job.Removed++
		u.job.Bytes += info.Size
		u.job.merged(info, u.commits[i].Header.Random)
	}
	if u.commits[0].Header.Number == u.from {
		u.job.Found.FirstReplaced(u.infos[0].Key, u.proven)
	}
	return nil
}
