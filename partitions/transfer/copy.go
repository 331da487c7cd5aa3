package transfer

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"golang.org/x/sync/errgroup"

	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// copier copies a backup into another partition. What lies below backups/ is copied byte
// for byte; of packs, which backups share, only what this backup names: it goes into new
// packs, and notes in moved/ say so. It can be cut off at any point and done again.
type copier struct {
	from     *repository.Found
	to       Target
	packs    *packCopier
	done     repository.Copied
	listener func(repository.Copied) // nil: nobody listens
}

func newCopier(from *repository.Found, to Target, report func(repository.Copied)) *copier {
	c := &copier{from: from, to: to, listener: report}
	c.packs = newPackCopier(from, to, &c.done)
	return c
}

// copyAhead is how many objects are copied at once where nobody reads yet.
const copyAhead = 8

// upTo copies the log to commit n, and all that goes with it.
func (c *copier) upTo(ctx context.Context, n uint64) error {
	if err := c.sameHistory(ctx, n); err != nil {
		return err
	}
	// Durable before referenced: the packs come first.
	for _, prefix := range []string{history.RecordsPrefix(c.from.Path), history.LogPrefix(c.from.Path)} {
		for info, err := range c.lacking(ctx, prefix, n) {
			if err != nil {
				return err
			}
			if err := c.packs.namedIn(ctx, info.Key); err != nil {
				return err
			}
			c.report()
		}
	}
	if err := c.packs.flush(ctx); err != nil {
		return err
	}
	if err := c.checkAbsent(ctx, n); err != nil {
		return err
	}
	for whole := false; !whole; {
		var err error
		if whole, err = c.rest(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// rest copies blocks before the log and the log before checkpoints, which name them; the
// log in its order, since it may be read meanwhile. whole is false where a checkpoint was
// put anew meanwhile.
func (c *copier) rest(ctx context.Context, n uint64) (whole bool, err error) {
	checkpoints, err := c.checkpoints(ctx, n)
	if err != nil {
		return false, err
	}
	if err := c.objects(ctx, c.lacking(ctx, history.RecordsPrefix(c.from.Path), n), copyAhead); err != nil {
		return false, err
	}
	if err := c.objects(ctx, c.lacking(ctx, history.LogPrefix(c.from.Path), n), 1); err != nil {
		return false, err
	}
	return c.putCheckpoints(ctx, checkpoints)
}

func (c *copier) report() {
	if c.listener != nil {
		c.listener(c.done)
	}
}

// sameHistory refuses to continue a log that is another one: under its path can lie what
// an earlier copy left, and nothing else.
func (c *copier) sameHistory(ctx context.Context, n uint64) error {
	log := history.Log{Store: c.to.Config().Store, Backup: c.from.Path}
	there, err := log.Newest(ctx, 0)
	if err != nil || there == 0 {
		return err
	}
	if there <= n {
		ours, err := headerOf(ctx, c.from.Log(), there)
		if err != nil {
			return err
		}
		theirs, err := headerOf(ctx, &log, there)
		if err != nil || ours.Random == theirs.Random {
			return err
		}
	}
	return fmt.Errorf("partition %s (%s) has another history under backups/%s, up to commit %d: take it away, if nobody needs it, and try again",
		c.to.Config().Name, c.to.Config().Location, c.from.Path, there)
}

func headerOf(ctx context.Context, log *history.Log, n uint64) (h history.Header, err error) {
	for c, err := range log.Commits(ctx, n, n) {
		if err != nil {
			return h, err
		}
		h = c.Header()
	}
	return h, nil
}

// lacking yields the objects of the backup with a prefix that the other partition does
// not have, up to commit n. Both are listed side by side.
func (c *copier) lacking(ctx context.Context, prefix string, n uint64) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		next, stop := iter.Pull2(c.to.Config().Store.List(ctx, prefix, ""))
		defer stop()
		there, err, ok := next()
		for info, lerr := range c.from.Partition.Store.List(ctx, prefix, "") {
			for lerr == nil && err == nil && ok && there.Key < info.Key {
				there, err, ok = next()
			}
			if err = errors.Join(lerr, err); err != nil {
				yield(objstore.Info{}, err)
				return
			}
			if ok && there.Key == info.Key || !c.wanted(info.Key, n) {
				continue
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

// wanted says whether a key is one of the backup's, of what was there at commit n.
func (c *copier) wanted(key string, n uint64) bool {
	if _, to, ok := history.ParseLogKey(c.from.Path, key); ok {
		return to <= n
	}
	if at, ok := history.ParseCheckpointKey(c.from.Path, key); ok {
		return at <= n
	}
	return history.IsRecordsKey(c.from.Path, key)
}

// objects copies them, so many at once.
func (c *copier) objects(ctx context.Context, list iter.Seq2[objstore.Info, error], ahead int) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(ahead)
	for info, err := range list {
		if err != nil {
			return errors.Join(g.Wait(), err)
		}
		if gctx.Err() != nil {
			break // Wait says why
		}
		g.Go(func() error { return c.object(gctx, info) })
		c.done.Objects++
		c.done.Bytes += info.Size
		c.report()
	}
	return g.Wait()
}

// object copies one as it is.
func (c *copier) object(ctx context.Context, info objstore.Info) error {
	body, _, drop, err := repository.Hold(ctx, c.from.Partition.Store, info.Key)
	if err != nil {
		return err
	}
	defer drop()
	return c.put(ctx, info.Key, body)
}

func (c *copier) put(ctx context.Context, key string, body objstore.Body) error {
	_, err := c.to.Config().Store.Put(ctx, key, body, objstore.PutOptions{IfAbsent: c.to.Conditional()})
	if errors.Is(err, objstore.ErrExist) {
		return nil // an unclear answer: what is copied never changes
	}
	return err
}

// checkAbsent sees that no message of the newest state is among what could not be found:
// what retention has let go may be named by the log for longer. Commits that cannot be read
// do no harm if a bridge names them.
func (c *copier) checkAbsent(ctx context.Context, n uint64) error {
	hole, err := c.hole(ctx)
	if err != nil || len(c.packs.absent) == 0 && !c.packs.damaged && !hole {
		return err
	}
	m, err := c.from.Load(ctx, history.Moment{Number: n})
	if history.IsUnreadable(err) {
		return fmt.Errorf("it is damaged; ctl_backups verify --repair %s lets it go on: %w", c.from.Name().Full, err)
	}
	if err != nil {
		return err
	}
	defer m.Close()
	for msg, err := range m.Messages() {
		if err != nil {
			return err
		}
		for _, chunk := range msg.Chunks {
			if err := c.found(ctx, m, chunk); err != nil {
				return fmt.Errorf("message %s cannot be copied (ctl_backups verify tells what is damaged): %w", msg.GUID, err)
			}
		}
	}
	return nil
}

// hole says whether the log lacks a commit behind its newest checkpoint.
func (c *copier) hole(ctx context.Context) (bool, error) {
	log := c.from.Log()
	checkpoints, err := log.Checkpoints(ctx)
	if err != nil {
		return false, err
	}
	var from uint64
	if len(checkpoints) > 0 {
		from = checkpoints[0]
	}
	_, missing, err := log.End(ctx, from)
	return missing > 0, err
}

// found is the error of a chunk that some place has lost, unless another one has it.
func (c *copier) found(ctx context.Context, m *history.Mem, chunk history.ChunkID) error {
	lost := c.packs.absent[chunk]
	if lost == nil {
		return nil
	}
	places, err := m.Places(chunk)
	if err != nil {
		return err
	}
	for _, p := range places {
		_, _, err := c.packs.objects.Entry(ctx, p)
		if err == nil || !history.IsDamage(err) {
			return err
		}
	}
	return lost
}

// putInfo makes the copy visible: backup.json is the same as in the old partition.
func (c *copier) putInfo(ctx context.Context) error {
	key := repository.BackupInfoKey(c.from.Path)
	b, _, err := repository.ReadSmall(ctx, c.from.Partition.Store, key)
	if err != nil {
		return err
	}
	err = repository.PutIfAbsent(ctx, c.to.Config().Store, key, b, c.to.Conditional())
	if errors.Is(err, objstore.ErrExist) {
		return c.sameBackup(ctx)
	}
	return err
}

// sameBackup refuses to copy over a backup that only has the same name.
func (c *copier) sameBackup(ctx context.Context) error {
	there, err := repository.ReadBackupInfo(ctx, c.to.Config().Store, c.from.Path)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil
	}
	if err == nil && there.ID != c.from.Info.ID {
		err = fmt.Errorf("partition %s (%s) has another backup of %s, made on %s", c.to.Config().Name, c.to.Config().Location, c.from.Name(), timespec.Text(there.Created))
	}
	return err
}
