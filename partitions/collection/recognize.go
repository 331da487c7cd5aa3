package collection

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// withRegister adds to each backup its line in the register of the last pass, and backups that are only there.
func (c *census) withRegister(in iter.Seq[work]) iter.Seq[work] {
	return func(yield func(work) bool) {
		for w := range in {
			if w.prefix != "" && !c.absent(w.prefix, yield) {
				return
			}
			w.was = c.register.of(w.prefix)
			if !yield(w) || w.prefix == "" { // the list has ended with an error
				return
			}
		}
		if !c.absent(backupPrefix+"\xff", yield) {
			return
		}
		if err := c.register.failure(); err != nil {
			yield(work{group: group{prefix: RegisterKey, err: err}})
		}
	}
}

// absent yields the backups in the register before a prefix. They do not exist any more.
func (c *census) absent(prefix string, yield func(work) bool) bool {
	for was := c.register.before(prefix); was != nil; was = c.register.before(prefix) {
		if !yield(work{group: group{prefix: was.prefix()}, was: was, absent: true}) {
			return false
		}
	}
	return true
}

// recognize finds the id of a backup, and whether the last pass has counted the same backup. If it is not, something must
// show what has become of that one.
func (c *census) recognize(ctx context.Context, o *outcome) (err error) {
	there := o.counted != nil && !o.first.IsZero()
	if there {
		if o.id, err = c.id(ctx, o.group, o.was); err != nil {
			return err
		}
	}
	if o.was == nil || there && c.same(o) || c.lost.Load() >= MostBlocked {
		return nil
	}
	ok, err := c.explained(ctx, o.was)
	if err == nil && !ok {
		c.lost.Add(1)
		o.missing = c.missing(o, there)
	}
	return err
}

// id returns the id in backup.json, or "" if that cannot be read. It is read only if it has changed.
func (c *census) id(ctx context.Context, g group, was *registered) (string, error) {
	if g.info.Key == "" {
		return "", nil
	}
	if was != nil && was.version.same(versionOf(g.info)) {
		return was.ID, nil
	}
	return idAt(ctx, c.store, strings.Trim(strings.TrimPrefix(g.prefix, backupPrefix), "/"))
}

func idAt(ctx context.Context, s objstore.Store, path string) (string, error) {
	i, err := repository.ReadBackupInfo(ctx, s, path)
	if err != nil {
		if failed(err) {
			return "", err
		}
		return "", nil
	}
	return i.ID, nil
}

// same reports whether a backup is the one in the register, with its newest commit. A repair gives backup.json another id.
func (c *census) same(o *outcome) bool {
	if o.commit < o.was.Commit {
		return false
	}
	return o.id != "" && o.id == o.was.ID || !o.first.After(c.since(o.was.ID, o.id))
}

// since returns the time after which another backup may have begun. Only if one of the ids is unknown, the one in the register
// may have begun during the last pass.
func (c *census) since(was, is string) time.Time {
	if was != "" && is != "" {
		return c.register.Time
	}
	return c.register.Ended
}

// missing describes a backup that is missing.
func (c *census) missing(o *outcome, there bool) error {
	what := "it was there"
	if there && o.id != "" && o.id == o.was.ID {
		what = fmt.Sprintf("it had commit %d", o.was.Commit)
	}
	return fmt.Errorf("%w: %s on %s, and neither a copy that was set aside nor the record of an erasure shows what has become of it: is everything mounted? If it was removed on purpose, remove %s",
		errMissing, what, c.register.Time.UTC().Format(time.RFC3339), ResultKey)
}

// explained reports whether a backup in the register was erased since, or is complete in set-aside/.
func (c *census) explained(ctx context.Context, was *registered) (bool, error) {
	if c.gone.has(was.Backup, was.ID) {
		return true, nil
	}
	for f, err := range repository.CompleteAside(ctx, repository.Config{Store: c.store}, was.Backup) {
		is := false
		if err == nil {
			is, err = c.isCopy(ctx, f, was)
		}
		if err != nil || is {
			return is, err
		}
	}
	return false, nil
}

// isCopy reports whether a copy that was set aside is that of a backup in the register. It must have the newest commit,
// because the backup may have continued from an older copy. If the ids do not show whether it is, its times have to: another
// backup of the name has begun later.
func (c *census) isCopy(ctx context.Context, f *repository.Found, was *registered) (bool, error) {
	commit, err := newestCommit(ctx, f)
	if err != nil || commit < was.Commit {
		return false, err
	}
	i, err := repository.ReadBackupInfo(ctx, f.Partition.Store, f.Path)
	switch {
	case err != nil && failed(err):
		return false, err
	case err != nil:
		i = &repository.BackupInfo{}
	case was.ID != "" && i.ID == was.ID:
		return true, nil
	}
	before := c.since(was.ID, i.ID).Add(listPrecision)
	if i.Created.After(before) {
		return false, nil
	}
	if was.Commit == 0 {
		return true, nil
	}
	h, err := f.Log().Header(ctx, was.Commit)
	if err != nil {
		if failed(err) {
			return false, err
		}
		return false, nil
	}
	return !h.Time.After(before), nil
}

// newestCommit returns the highest number of a single commit.
func newestCommit(ctx context.Context, f *repository.Found) (n uint64, err error) {
	for info, err := range f.Partition.Store.List(ctx, history.LogPrefix(f.Path), "") {
		if err != nil {
			return 0, err
		}
		if from, to, ok := history.ParseLogKey(f.Path, info.Key); ok && from == to {
			n = max(n, to)
		}
	}
	return n, nil
}

// keep adds a backup to the register of this pass.
func (c *census) keep(o *outcome) error {
	path, ok := strings.CutPrefix(o.prefix, backupPrefix)
	if !ok || c.present == nil {
		return nil
	}
	line := registered{Backup: strings.TrimSuffix(path, "/"), ID: o.id, Commit: o.commit}
	if o.info.Key != "" {
		line.version = versionOf(o.info)
	}
	return c.present.add(&line)
}
