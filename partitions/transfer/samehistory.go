package transfer

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// sameHistory returns an error if the target has another log under the same path. The log
// of an interrupted copy is accepted, and that of another copy which began later. sameHistory notes its outline.
func (c *copier) sameHistory(ctx context.Context) error {
	log := history.Log{Store: c.to.Config().Store, Backup: c.from.Path, ID: c.from.Info.ID}
	o, err := log.Outline(ctx)
	if err != nil {
		return err
	}
	c.end.there = o
	there := o.Held
	if there == 0 {
		return nil
	}
	same, err := c.continues(ctx, &log, there)
	if err != nil || same {
		return err
	}
	return fmt.Errorf("partition %s (%s) has another history below backups/%s, up to commit %d: remove it if nobody needs it, and try again",
		c.to.Config().Name, c.to.Config().Location, c.from.Path, there)
}

// continues reports whether the log in the target, which ends with the given commit, has the
// same history. Retention may remove the beginning of this log between two requests.
func (c *copier) continues(ctx context.Context, log *history.Log, there uint64) (bool, error) {
	first, err := c.from.Log().First(ctx)
	for err == nil {
		var same bool
		if there < first {
			same, err = c.continuesAfterCut(ctx, log, there, first)
		} else {
			same, err = c.continuesHere(ctx, log, there)
		}
		if same || err != nil && !history.IsUnreadable(err) {
			return same, err
		}
		now, ferr := c.from.Log().First(ctx)
		if ferr != nil || now == first {
			return false, errors.Join(err, ferr)
		}
		first, err = now, nil
	}
	return false, err
}

// continuesHere is continues if this log should have the commit, too.
func (c *copier) continuesHere(ctx context.Context, log *history.Log, there uint64) (bool, error) {
	theirs, err := headerOf(ctx, log, there)
	if err != nil {
		return false, err
	}
	ours, err := headerOf(ctx, c.from.Log(), there)
	if history.IsUnreadable(err) {
		return c.goesOnHere(ctx, log, there)
	}
	return err == nil && ours.Random == theirs.Random, err
}

// goesOnHere is continues for a copy that ends with a commit which this log has lost since then:
// the hash in the next commit shows whether it was this one.
func (c *copier) goesOnHere(ctx context.Context, log *history.Log, there uint64) (bool, error) {
	next, err := headerOf(ctx, c.from.Log(), there+1)
	if history.IsUnreadable(err) {
		return false, nil // the target may have a commit that this log never had
	}
	if err != nil {
		return false, err
	}
	return follows(ctx, log, there, next)
}

// follows reports whether a commit follows the newest one of a log.
func follows(ctx context.Context, log *history.Log, newest uint64, next history.Header) (bool, error) {
	for last, err := range log.Commits(ctx, newest, newest) {
		if err != nil {
			return false, err
		}
		hash, err := last.Hash()
		return err == nil && hash == next.Prev, err
	}
	return false, nil
}

// continuesAfterCut is continues for a copy that ends before the log begins: retention has removed
// what the two had in common. The copy is of the same backup if this copier has begun it, if an interrupted copy
// of this backup has left its CopyingKey, or if its backup.json has the same id, which sameBackup has checked. A
// reader ignores its commits if others are missing after them.
func (c *copier) continuesAfterCut(ctx context.Context, log *history.Log, there, first uint64) (bool, error) {
	_, err := repository.ReadBackupInfo(ctx, c.to.Config().Store, c.from.Path)
	if errors.Is(err, objstore.ErrNotExist) {
		return c.begun || c.end.there.Copying > 0, nil
	}
	if err != nil || there+1 < first {
		return err == nil, err
	}
	ours, err := headerOf(ctx, c.from.Log(), first)
	if err != nil {
		return false, err
	}
	return follows(ctx, log, there, ours)
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
