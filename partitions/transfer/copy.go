package transfer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// copier copies a backup into another partition (see the package comment).
type copier struct {
	from      *repository.Found
	to        Target
	packs     *packCopier
	begun     bool      // upTo was called
	trying    bool      // and has not succeeded since
	asked     time.Time // when that began, and asked the target for packs; zero = perhaps long ago
	end       logEnd
	importing bool
	exporting bool // another export to the same place may run
	done      repository.Copied
	named     map[string]bool         // segments whose packs are copied
	progress  func(repository.Copied) // may be nil
}

func newCopier(from *repository.Found, to Target, report func(repository.Copied)) *copier {
	c := &copier{from: from, to: to, named: map[string]bool{}, progress: report}
	c.packs = newPackCopier(from, to, &c.done)
	return c
}

// copyAhead is how many objects are copied in parallel if their order does not matter.
const copyAhead = 8

// upTo copies the log up to commit n, and everything that it refers to.
func (c *copier) upTo(ctx context.Context, n uint64) error {
	now := c.to.StoreNow(ctx, time.Time{})
	if err := c.sameHistory(ctx); err != nil {
		return err
	}
	if err := c.findEnd(ctx, n); err != nil {
		return err
	}
	if !c.trying { // another try uses answers of the first
		c.trying, c.asked = true, now
		c.packs.forget() // the first copy, and the wait for the lock, may have taken long
	}
	if c.end.there.Held > 0 && !c.begun {
		_, err := repository.ReadBackupInfo(ctx, c.to.Config().Store, c.from.Path)
		if errors.Is(err, objstore.ErrNotExist) {
			c.asked = time.Time{} // the copy was interrupted, and may have been a long one
		}
	}
	c.begun = true
	// Packs come first: an object must be durable before another refers to it.
	for _, prefix := range []string{history.RecordsPrefix(c.from.Path), history.LogPrefix(c.from.Path)} {
		for info, err := range c.lacking(ctx, prefix, n) {
			if err != nil {
				return err
			}
			if err := c.packs.namedIn(ctx, info.Key); err != nil {
				return err
			}
			c.noteNamed(info.Key)
			c.report()
		}
	}
	if err := c.packsOfCheckpoints(ctx, n); err != nil {
		return err
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
	if err := c.packsAgain(ctx, n); err != nil {
		return err
	}
	c.trying = false
	return nil
}

// longCopy is how long a copy may take after it has asked for packs that the target has already.
// Nobody names these packs before the log is copied, so that collection or an erasure may condemn
// them. They are then on the list for two hours before they are removed, and for two hours after
// that.
const longCopy = 3 * time.Hour

// packsAgain copies what the target has condemned during the copy, or may have lost during a long
// one. Now the log there names the packs, and no other one is removed.
func (c *copier) packsAgain(ctx context.Context, n uint64) error {
	for {
		now := c.to.StoreNow(ctx, time.Time{})
		if now.Sub(c.asked) <= longCopy {
			if condemned, err := c.packs.condemned(ctx); err != nil || !condemned {
				return err
			}
		}
		c.asked = time.Time{} // until everything was asked again
		c.packs.forget()
		for _, prefix := range []string{history.RecordsPrefix(c.from.Path), history.LogPrefix(c.from.Path)} {
			for info, err := range c.from.Partition.Store.List(ctx, prefix, "") {
				if err != nil {
					return err
				}
				if !c.wanted(info.Key, n) {
					continue
				}
				if err := c.packs.namedIn(ctx, info.Key); err != nil {
					return err
				}
			}
		}
		if err := c.packs.flush(ctx); err != nil {
			return err
		}
		c.asked = now
	}
}

// rest copies blocks, then the log, then checkpoints, because each refers to the ones
// before; then the newest commit, and a checkpoint of it. It copies the log in order, because tools may
// read the copy at any time. whole is false if a daemon has rewritten a checkpoint during the copy, or if
// retention has.
func (c *copier) rest(ctx context.Context, n uint64) (whole bool, err error) {
	checkpoints, err := c.checkpoints(ctx, n)
	if err != nil {
		return false, err
	}
	if err := c.packsOfCheckpoints(ctx, n); err != nil { // a merge may have put packs since they were copied
		return false, err
	}
	if err := c.packs.flush(ctx); err != nil {
		return false, err
	}
	if err := c.objects(ctx, c.lacking(ctx, history.RecordsPrefix(c.from.Path), n), copyAhead); err != nil {
		return false, err
	}
	return c.putLog(ctx, n, checkpoints)
}

// begins reports whether the copy has all checkpoints before its newest commit if its log may lack the
// beginning: retention may have put checkpoints, and then have removed commits, since both were listed.
func (c *copier) begins(ctx context.Context, n uint64) (bool, error) {
	first, err := c.from.Log().First(ctx)
	if err != nil || first <= 1 {
		return err == nil, err
	}
	for info, err := range c.lacking(ctx, history.CheckpointPrefix(c.from.Path), n) {
		if err != nil || c.isBefore(info) {
			return false, err
		}
	}
	return true, nil
}

// noteNamed records that the packs which a segment names are copied.
func (c *copier) noteNamed(key string) {
	if n, _, ok := history.ParseLogKey(c.from.Path, key); ok && key != history.LogKey(c.from.Path, n) {
		c.named[key] = true
	}
}

// withPacks copies the packs of segments that a merge has put after the packs of the log were
// copied.
func (c *copier) withPacks(ctx context.Context, list iter.Seq2[objstore.Info, error]) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for info, err := range list {
			if n, _, ok := history.ParseLogKey(c.from.Path, info.Key); err == nil && ok && info.Key != history.LogKey(c.from.Path, n) && !c.named[info.Key] {
				if err = c.packs.namedIn(ctx, info.Key); err == nil {
					err = c.packs.flush(ctx)
				}
				c.noteNamed(info.Key)
			}
			if !yield(info, err) || err != nil {
				return
			}
		}
	}
}

func (c *copier) report() {
	if c.progress != nil {
		c.progress(c.done)
	}
}

// lacking yields the objects of the backup with a prefix, up to commit n, that the target
// does not have. It lists both partitions in parallel.
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

// wanted reports whether a key belongs to the backup as of commit n.
func (c *copier) wanted(key string, n uint64) bool {
	if _, to, ok := history.ParseLogKey(c.from.Path, key); ok {
		return to <= n
	}
	if at, ok := history.ParseCheckpointKey(c.from.Path, key); ok {
		return at <= n
	}
	return history.IsRecordsKey(c.from.Path, key)
}

// objects copies a list of objects, ahead of them in parallel.
func (c *copier) objects(ctx context.Context, list iter.Seq2[objstore.Info, error], ahead int) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(ahead)
	for info, err := range list {
		if err != nil {
			return errors.Join(g.Wait(), err)
		}
		if gctx.Err() != nil {
			break // Wait returns the error
		}
		g.Go(func() error { return c.object(gctx, info) })
		c.done.Objects++
		c.done.Bytes += info.Size
		c.report()
	}
	return g.Wait()
}

// object copies an object byte for byte.
func (c *copier) object(ctx context.Context, info objstore.Info) error {
	body, _, drop, err := repository.ReadWhole(ctx, c.from.Partition.Store, info.Key)
	if err != nil {
		return err
	}
	defer drop()
	return c.put(ctx, info.Key, body)
}

func (c *copier) put(ctx context.Context, key string, body objstore.Body) error {
	_, err := c.to.Config().Store.Put(ctx, key, body, objstore.PutOptions{IfAbsent: c.to.Conditional()})
	if errors.Is(err, objstore.ErrExist) {
		return nil // after an unclear answer; copied objects never change
	}
	return err
}

// checkAbsent returns an error if a chunk that could not be found belongs to a message of
// the newest state. The log may still refer to chunks that retention has removed, or whose loss it
// records. Unreadable commits are accepted if a bridge names them.
func (c *copier) checkAbsent(ctx context.Context, n uint64) error {
	hole, err := c.hole(ctx)
	if err != nil || len(c.packs.absent) == 0 && !c.packs.damaged && !hole {
		return err
	}
	m, err := c.from.Load(ctx, history.Moment{Number: n})
	if history.IsUnreadable(err) {
		return fmt.Errorf("the backup of %s is damaged, run ctl_backups verify --repair %s: %w", c.from.Name(), c.from.Name().Full, err)
	}
	if err != nil {
		return err
	}
	defer m.Close()
	for msg, err := range m.DistinctMessages() {
		if err != nil {
			return err
		}
		for _, chunk := range msg.Chunks {
			if err := c.found(ctx, m, chunk); err != nil {
				return fmt.Errorf("message %s cannot be copied: run ctl_backups verify --repair %s, which finds another copy or records that it is lost, and try again: %w",
					msg.GUID, c.from.Name().Full, err)
			}
		}
	}
	return nil
}

// hole reports whether a commit after the newest checkpoint is missing from the log. A checkpoint after the
// end of the log is no beginning: it may be of another log.
func (c *copier) hole(ctx context.Context) (bool, error) {
	log := c.from.Log()
	checkpoints, err := log.Checkpoints(ctx)
	if err != nil {
		return false, err
	}
	var from uint64
	if i := slices.IndexFunc(checkpoints, func(n uint64) bool { return n <= c.end.newest }); i >= 0 {
		from = checkpoints[i]
	}
	_, missing, err := log.End(ctx, from)
	return missing > 0, err
}

// found returns the error of a chunk that one of its places has lost, and nil if another
// place has it.
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

// putInfo copies the holds, and then backup.json, which makes the copy visible.
func (c *copier) putInfo(ctx context.Context) error {
	copied := &repository.Found{Partition: c.to.Config(), Path: c.from.Path, Info: c.from.Info}
	if err := repository.CopyHolds(ctx, c.from, copied, c.to.Conditional()); err != nil {
		return err
	}
	key := repository.BackupInfoKey(c.from.Path)
	b, _, err := repository.ReadSmall(ctx, c.from.Partition.Store, key)
	if err != nil {
		return err
	}
	err = repository.PutIfAbsent(ctx, c.to.Config().Store, key, b, c.to.Conditional())
	if errors.Is(err, objstore.ErrExist) {
		err = c.sameBackup(ctx)
		if err == nil && c.from.Info.Version >= repository.VersionErased { // the copy is of an earlier time
			err = copied.MarkErased(ctx)
		}
	}
	return err
}

// sameBackup returns an error if the target has another backup of the same name.
func (c *copier) sameBackup(ctx context.Context) error {
	there, err := repository.ReadBackupInfo(ctx, c.to.Config().Store, c.from.Path)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil
	}
	if err == nil && there.ID != c.from.Info.ID {
		err = fmt.Errorf("partition %s (%s) already has another backup of %s, created on %s", c.to.Config().Name, c.to.Config().Location, c.from.Name(), timespec.Text(there.Created))
	}
	return err
}
