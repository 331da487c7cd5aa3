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
// same history. Retention may remove the beginning of this log between two requests: then it looks again, but not
// after two commits have differed.
func (c *copier) continues(ctx context.Context, log *history.Log, there uint64) (bool, error) {
	first, err := c.from.Log().First(ctx)
	if err != nil {
		return false, err
	}
	for {
		same, err := c.continuesFrom(ctx, log, there, first)
		if !history.IsUnreadable(err) {
			return same, err
		}
		now, ferr := c.from.Log().First(ctx)
		if ferr == nil && now != first {
			first = now
			continue
		}
		if ferr == nil && first <= there {
			return false, nil // the target may have a commit that this log never had
		}
		return false, errors.Join(err, ferr)
	}
}

// continuesFrom is continues with the first commit of this log. The error is unreadable if that cannot be decided.
func (c *copier) continuesFrom(ctx context.Context, log *history.Log, there, first uint64) (bool, error) {
	if there < first {
		return c.continuesAfterCut(ctx, log, there, first)
	}
	ours, err := headerOf(ctx, c.from.Log(), there)
	lost := history.IsUnreadable(err)
	if err != nil && !lost {
		return false, err
	}
	theirs, err := headerOf(ctx, log, there)
	switch {
	case lost && history.IsUnreadable(err):
		return c.sameBefore(ctx, log, there, first)
	case err != nil:
		return false, err
	case lost:
		return c.goesOnHere(ctx, log, there)
	}
	return ours.Random == theirs.Random, nil
}

// sameBefore is continues for a copy that was interrupted after a damaged commit: the commits before decide.
func (c *copier) sameBefore(ctx context.Context, log *history.Log, there, first uint64) (bool, error) {
	for n := there - 1; n >= max(first, 1); n-- {
		ours, err := headerOf(ctx, c.from.Log(), n)
		if err == nil {
			var theirs history.Header
			if theirs, err = headerOf(ctx, log, n); err == nil {
				return ours.Random == theirs.Random, nil
			}
		}
		if !history.IsUnreadable(err) {
			return false, err
		}
	}
	return c.wasCopied(ctx, there)
}

// goesOnHere is continues for a copy that ends with a commit which this log has lost since then:
// the hash in the next commit shows whether it was this one.
func (c *copier) goesOnHere(ctx context.Context, log *history.Log, there uint64) (bool, error) {
	next, err := headerOf(ctx, c.from.Log(), there+1)
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
// what the two had in common. If nothing is missing between them, the first commit of this log decides. Otherwise a
// reader ignores the commits of the copy, which is of the same backup if this copier has begun it, if its backup.json
// has the same id, which sameBackup has checked, or if an interrupted copy of this backup has left its CopyingKey.
func (c *copier) continuesAfterCut(ctx context.Context, log *history.Log, there, first uint64) (bool, error) {
	if there+1 == first {
		ours, err := headerOf(ctx, c.from.Log(), first)
		if err != nil {
			return false, err
		}
		return follows(ctx, log, there, ours)
	}
	return c.wasCopied(ctx, there)
}

// wasCopied is continues for a copy whose commits show nothing.
func (c *copier) wasCopied(ctx context.Context, there uint64) (bool, error) {
	if c.begun {
		return true, nil
	}
	_, err := repository.ReadBackupInfo(ctx, c.to.Config().Store, c.from.Path)
	if errors.Is(err, objstore.ErrNotExist) {
		return c.wasBegun(ctx, there)
	}
	return err == nil, err
}

// wasBegun reports whether a CopyingKey shows that an interrupted copy of this backup has put the log in the
// target, up to commit there, and no copy of another backup.
func (c *copier) wasBegun(ctx context.Context, there uint64) (begun bool, err error) {
	for info, err := range c.to.Config().Store.List(ctx, history.CopyingPrefix(c.from.Path), "") {
		if err != nil {
			return false, err
		}
		n, id, ok := history.ParseCopyingKey(c.from.Path, info.Key)
		if ok && id != c.from.Info.ID {
			return false, nil
		}
		begun = begun || ok && n >= there
	}
	return begun, nil
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
