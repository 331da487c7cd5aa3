package partitions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// The index is a cache. Its newest commit is trusted only after the store has confirmed it,
// because a bucket can be restored to an older state at any time, even under a running daemon.

// justProven is how long a confirmation counts. It saves a request for the commit that follows
// the opening of a backup. Restoring a bucket takes longer than this.
const justProven = 5 * time.Second

// proven records that the store has just confirmed the newest commit.
func (b *Backup) proven() { b.provenAt = b.set.opt.Now() }

// prove confirms the newest commit, unless it was confirmed just now.
func (b *Backup) prove(ctx context.Context) error {
	if b.wasProven() {
		return nil
	}
	return b.toNewest(ctx)
}

// wasProven asks both clocks of the host: the monotonic one stops while the host sleeps.
func (b *Backup) wasProven() bool {
	now := b.set.opt.Now()
	for _, age := range []time.Duration{now.Sub(b.provenAt), now.Round(0).Sub(b.provenAt.Round(0))} {
		if age < 0 || age > justProven {
			return false
		}
	}
	return !b.provenAt.IsZero()
}

// toNewest confirms the newest commit in the index and applies the later commits, which other
// hosts made. It returns errOtherHistory if the log differs from the index. It returns errLate at the end: the client
// is deferred once, however many commits were late.
func (b *Backup) toNewest(ctx context.Context) error {
	b.provenAt = time.Time{}
	var late error
	for {
		next, err := b.confirm(ctx)
		if err != nil {
			return err
		}
		b.proven()
		if next == nil {
			return late
		}
		err = b.applyFromBucket(ctx, b.entry.Number+1, next.Size)
		switch {
		case history.IsUnreadable(err) && !errors.Is(err, errOtherHistory):
			return fmt.Errorf("commit %d: %w: %w", b.entry.Number+1, errOtherHistory, err)
		case err != nil:
			return err
		}
		b.entry.ETag = next.ETag
		if err := b.proveIfLate(ctx, next); errors.Is(err, errLate) {
			late = err
		} else if err != nil {
			return err
		}
		b.proven() // the commit was just read, and it continues the previous one
	}
}

// confirm requests the newest commit in the index and the next commit in parallel. next is nil
// if there is no next commit.
func (b *Backup) confirm(ctx context.Context) (next *objstore.Info, err error) {
	g, gctx := errgroup.WithContext(ctx)
	if b.entry.Number > 0 && !b.wasProven() {
		g.Go(func() error { return b.confirmNewest(gctx) })
	}
	g.Go(func() (err error) {
		if b.mustList() {
			next, err = b.listNext(gctx)
		} else {
			next, err = b.stat(gctx, b.entry.Number+1)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if b.mustList() {
		b.listedAt = b.set.opt.Now()
	}
	return next, nil
}

// listedFor is how long a log counts as free of holes after it was listed.
const listedFor = time.Hour

// mustList reports whether the log has to be listed. A missing commit 1 does not prove that
// the log is empty, because commit 1 may have been merged.
func (b *Backup) mustList() bool {
	return b.listedAt.IsZero() || b.set.opt.Now().Sub(b.listedAt) > listedFor || b.entry.Number == 0
}

// stat returns the object of a commit, or nil if it does not exist.
func (b *Backup) stat(ctx context.Context, n uint64) (*objstore.Info, error) {
	i, err := await(ctx, func() (objstore.Info, error) { return b.part.store.Stat(ctx, history.LogKey(b.path, n)) })
	if errors.Is(err, objstore.ErrNotExist) {
		return nil, nil
	}
	return &i, err
}

// listNext is stat of the next commit for a log that this process has not listed recently. It
// lists the log from the newest checkpoint on: there may be commits after a hole, and no
// commit is ever put into a hole.
func (b *Backup) listNext(ctx context.Context) (*objstore.Info, error) {
	n := b.entry.Number
	log := history.Log{Store: b.part.store, Backup: b.path}
	var newest, missing uint64
	err := await0(ctx, func() (err error) {
		newest, missing, err = log.End(ctx, b.entry.Checkpoint)
		if err == nil && missing > 0 {
			newest, missing, err = b.endAfterKept(ctx, &log, newest, missing)
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case missing > 0:
		return nil, fmt.Errorf("the log goes to commit %d and lacks commit %d: %w", newest, missing, errOtherHistory)
	case newest <= n:
		return nil, nil
	}
	next, err := b.stat(ctx, n+1)
	if err == nil && next == nil {
		err = fmt.Errorf("commit %d was merged into a segment, and the index does not know it: %w", n+1, errOtherHistory)
	}
	return next, err
}

// endAfterKept is End after the newest checkpoint that the index covers. Retention removes a
// checkpoint that the index knows, and the log after it, after it has put a newer checkpoint.
func (b *Backup) endAfterKept(ctx context.Context, log *history.Log, newest, missing uint64) (uint64, uint64, error) {
	numbers, err := log.Checkpoints(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, n := range numbers {
		if n > b.entry.Checkpoint && n <= b.entry.Number {
			newest, missing, err = log.End(ctx, n)
			if err == nil && missing == 0 {
				b.entry.Checkpoint = n
			}
			return newest, missing, err
		}
	}
	return newest, missing, nil
}

// confirmNewest confirms that the bucket holds the newest commit in the index. The commit may
// have been merged into a segment, or the bucket may have been replaced by another.
func (b *Backup) confirmNewest(ctx context.Context) error {
	n := b.entry.Number
	i, err := b.stat(ctx, n)
	if err == nil && i != nil {
		b.storeAt = i.StoreTime
	}
	switch {
	case err != nil:
		return err
	case i == nil:
		return fmt.Errorf("the bucket lacks commit %d, the newest that the index knows: %w", n, errOtherHistory)
	case b.entry.ETag != "" && i.ETag == b.entry.ETag:
		return nil
	}
	same, err := b.hasHash(ctx, n)
	switch {
	case history.IsUnreadable(err):
		return fmt.Errorf("commit %d: %w: %w", n, errOtherHistory, err)
	case err != nil:
		return err
	case !same:
		return fmt.Errorf("commit %d in the bucket is another one than the index knows: %w", n, errOtherHistory)
	}
	b.entry.ETag = i.ETag // a copy of the bucket changes the ETag and keeps the bytes
	return nil
}

// hasHash compares the bytes of the newest commit with the hash in the index.
func (b *Backup) hasHash(ctx context.Context, n uint64) (same bool, err error) {
	if b.entry.Hash == "" {
		return true, nil // the commit cannot be read, and a bridge was put after it
	}
	err = await0(ctx, func() error {
		return history.ReadCommit(ctx, b.part.store, b.path, n, func(c *history.CommitReader) error {
			hash, err := c.Hash()
			same = hash == b.entry.Hash
			return err
		})
	})
	return same, err
}
