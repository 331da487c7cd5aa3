package transfer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// The newest commit is put last, after the rest of the log and the checkpoints before it. The target may have
// an earlier part of the log, so meanwhile its log may end with a segment, or have a hole. An object beside the
// log (history.CopyingKey) shows that the copy goes on, so that nobody treats this as a loss.

// errChanged reports that the log has changed since the copy has looked for its end.
var errChanged = errors.New("the log has changed during the copy: try again")

// logEnd is the end of the log that is copied.
type logEnd struct {
	there     history.Outline // of the log in the target, before the copy
	newest    uint64          // highest used number of the log
	commit    uint64          // the newest commit to copy
	alone     bool            // it has its own object: the log has lost nothing after it
	announced uint64          // the commit in the CopyingKey that was put last
	beyond    uint64          // the commit in a CopyingKey that stays after an export; 0 = none
}

// reached reports whether the target had the newest commit before the copy.
func (e *logEnd) reached() bool {
	if e.alone {
		return e.there.Single >= e.commit
	}
	return e.there.Held >= e.commit
}

// findEnd finds the end of the log up to commit n.
func (c *copier) findEnd(ctx context.Context, n uint64) error {
	from, err := c.from.Log().Outline(ctx)
	if err != nil {
		return err
	}
	c.end.newest, c.end.commit = from.Newest, min(n, from.Held)
	c.end.alone = c.end.commit > 0 && c.end.commit <= from.Single
	return from.Unfinished()
}

// putLog copies the log, and checkpoints from a list. whole is as in rest.
func (c *copier) putLog(ctx context.Context, n uint64, checkpoints []objstore.Info) (whole bool, err error) {
	var last []objstore.Info
	if err := c.objects(ctx, c.announcing(ctx, c.withPacks(ctx, c.beforeEnd(ctx, n, &last))), 1); err != nil {
		return false, err
	}
	before := slices.DeleteFunc(slices.Clone(checkpoints), func(i objstore.Info) bool { return !c.isBefore(i) })
	if len(before) > 0 {
		if err := c.announce(ctx); err != nil {
			return false, err
		}
	}
	if whole, err = c.putCheckpoints(ctx, before); err != nil || !whole {
		return false, err
	}
	if whole, err = c.begins(ctx, n); err != nil || !whole {
		return false, err
	}
	if c.end.alone && len(last) == 0 && !c.end.reached() {
		return false, fmt.Errorf("commit %d of %s was merged: %w", c.end.commit, c.from.Path, errChanged)
	}
	if c.exporting && c.end.there.Held == 0 { // see finish
		if err := c.announce(ctx); err != nil {
			return false, err
		}
	}
	if err := c.objects(ctx, c.list(last), 1); err != nil {
		return false, err
	}
	c.end.there.Held, c.end.there.Single = max(c.end.there.Held, c.end.commit), max(c.end.there.Single, c.end.commit)
	return c.putCheckpoints(ctx, slices.DeleteFunc(checkpoints, c.isBefore))
}

// isBefore reports whether a checkpoint is of a commit before the newest one.
func (c *copier) isBefore(i objstore.Info) bool {
	n, _ := history.ParseCheckpointKey(c.from.Path, i.Key)
	return n < c.end.commit
}

// beforeEnd yields the objects of the log that the target lacks, but not the newest commit, which it adds to
// last. If that has been merged since, its segment is not yielded either: it would be the end of the log.
func (c *copier) beforeEnd(ctx context.Context, n uint64, last *[]objstore.Info) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for info, err := range c.lacking(ctx, history.LogPrefix(c.from.Path), n) {
			if _, to, ok := history.ParseLogKey(c.from.Path, info.Key); err == nil && ok && c.end.alone && to >= c.end.commit {
				if info.Key == history.LogKey(c.from.Path, c.end.commit) {
					*last = append(*last, info)
				}
				continue
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// needless reports whether a CopyingKey that means nothing may stay after an error: if these keys may only add, or
// if the copy is visible already.
func (c *copier) needless(err error) bool {
	return c.exporting || errors.Is(err, objstore.ErrDenied) && !errors.Is(err, objstore.ErrCredentials)
}

// list yields objects.
func (c *copier) list(infos []objstore.Info) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for _, i := range infos {
			if !yield(i, nil) {
				return
			}
		}
	}
}

// announcing announces the copy before the first object of a list.
func (c *copier) announcing(ctx context.Context, list iter.Seq2[objstore.Info, error]) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for info, err := range list {
			if err == nil {
				err = c.announce(ctx)
			}
			if !yield(info, err) || err != nil {
				return
			}
		}
	}
}

// announce puts the CopyingKey. If the target has the newest commit already, its log is complete without the
// rest. The target of an import has no backup.json before the end, so that no tool reads it.
func (c *copier) announce(ctx context.Context) error {
	if c.importing || c.end.announced == c.end.commit || c.end.reached() {
		return nil
	}
	key := history.CopyingKey(c.from.Path, c.end.commit, c.from.Info.ID)
	if _, _, ok := history.ParseCopyingKey(c.from.Path, key); !ok {
		return nil // a foreign id: no program could read the key, or remove it
	}
	if err := c.put(ctx, key, strings.NewReader(history.CopyingBody)); err != nil {
		return err
	}
	c.end.announced = c.end.commit
	return nil
}

// unannounce removes the CopyingKey of this copy, and of others that it has completed. A move or an import
// begins a backup that is in use, whose log goes on from here: it removes that of a copy which was interrupted
// and had more commits, too. After an export, such a copy stays unfinished.
func (c *copier) unannounce(ctx context.Context) error {
	c.end.beyond = 0
	if c.end.announced == 0 && c.end.there.Copying == 0 {
		return nil
	}
	store := c.to.Config().Store
	for info, err := range store.List(ctx, history.CopyingPrefix(c.from.Path), "") {
		if err != nil {
			return err
		}
		n, id, ok := history.ParseCopyingKey(c.from.Path, info.Key)
		if !ok || id != c.from.Info.ID {
			continue // of another backup
		}
		if n > c.end.commit && c.exporting {
			c.end.beyond = max(c.end.beyond, n) // of another export, or from before the source was put back
			continue
		}
		err := store.Delete(ctx, info.Key)
		if err != nil && n <= c.end.commit && c.needless(err) {
			continue // the log has the commit, so the object means nothing
		}
		if err != nil {
			return fmt.Errorf("remove the object of an interrupted copy: %w", err)
		}
	}
	c.end.announced, c.end.there.Copying = 0, 0
	return nil
}
