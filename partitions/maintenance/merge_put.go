package maintenance

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// merge puts the segment of a unit, proves it, and removes the single commits. After a
// failure at any point everything can be read, and the next run continues.
func (m *Merger) merge(ctx context.Context, u *unit) error {
	ctx, end := during(ctx, u.job.Upkeep)
	defer end()
	if err := sameBackup(ctx, u.job.Found); err != nil {
		return err
	}
	if !u.exists {
		if err := m.put(ctx, u); err != nil {
			return err
		}
	}
	if err := m.prove(ctx, u); err != nil {
		return fmt.Errorf("%s: the single commits are kept: %w", history.SegmentKey(u.job.Found.Path, u.from, u.to), err)
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
			err = b.Add(r, u.place)
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
	_, err = m.p.Store.Put(ctx, key, bytes.NewReader(object), objstore.PutOptions{IfAbsent: true})
	if !errors.Is(err, objstore.ErrExist) {
		u.job.Segments++
		u.job.Commits += len(u.commits)
	}
	if err == nil {
		return nil
	}
	if _, serr := m.p.Store.Stat(ctx, key); serr != nil {
		return errors.Join(err, serr)
	}
	return nil
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
	case at.pack.key == "":
		return p, fmt.Errorf("chunk %s: its pack could not be put", p.Chunk)
	}
	p.Object, p.Entry = at.pack.key, at.entry
	return p, nil
}

// single returns the number of a commit from the key of a single commit's object.
func single(backup, key string) (n uint64, ok bool) {
	n, _, ok = history.ParseLogKey(backup, key)
	return n, ok && key == history.LogKey(backup, n)
}

// remove removes the single commits in ascending order.
func (m *Merger) remove(ctx context.Context, u *unit) error {
	for _, info := range u.infos {
		if err := u.job.Upkeep.Check(); err != nil {
			return err
		}
		if err := m.p.Store.Delete(ctx, info.Key); err != nil {
			return err
		}
		u.job.Removed++
		u.job.Bytes += info.Size
	}
	return nil
}
