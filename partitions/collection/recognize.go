package collection

import (
	"context"
	"errors"
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
			yield(work{err: err}) // it was read before
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

// recognition is what a pass knows about a backup below backups/ and its line in the register.
type recognition struct {
	line      *registered // for the register of this pass; nil = none
	missing   error       // the backup in the register is missing
	accepted  bool        // it is missing, and a person has accepted that
	unchecked bool        // it may be missing: many are
}

// recognize finds whether the last pass has counted the same backup. If it has not, something must show what has become of
// that one. Otherwise its line stays in the register, so that later passes miss it, too.
func (c *census) recognize(ctx context.Context, o *outcome) (err error) {
	var is *registered
	if o.counted != nil && !o.first.IsZero() && (o.was != nil || c.present != nil) {
		if is, err = c.describe(ctx, o); err != nil {
			return err
		}
	}
	o.line = is
	if o.newest == 0 || o.was == nil && o.unborn() {
		o.line = nil
	}
	if o.was == nil {
		return nil
	}
	if is != nil {
		if same, err := c.same(ctx, o, is); err != nil || same {
			return err
		}
	}
	switch {
	case c.accept[o.was.Backup]:
		o.accepted = true
		return nil
	case c.gone.has(o.was):
		return nil
	case c.tell == nil && c.lost.Load() >= MostBlocked:
		o.unchecked, o.line = true, o.was.missed()
		return nil
	}
	ok, err := c.isAside(ctx, o.was)
	if err == nil && !ok {
		c.lost.Add(1)
		o.missing, o.line = c.missingError(o.was, is), o.was.missed()
	}
	return err
}

// id returns the id in the backup.json that was listed, "" if it cannot be read. The error is errChanged if the backup was erased,
// set aside or lost since: the next pass could not find out what has become of a backup without an id.
func (c *census) id(ctx context.Context, o *outcome, path string) (string, error) {
	i, err := repository.ReadBackupInfo(ctx, pinnedStore{c.store, o.info}, path)
	switch {
	case err == nil:
		return i.ID, nil
	case errors.Is(err, objstore.ErrNotExist):
		return "", fmt.Errorf("%w: %w", errChanged, err)
	case failed(err), errors.Is(err, errChanged):
		return "", err
	}
	return "", nil
}

// unborn reports whether a move, an import or an export is putting the backup: backup.json comes last. The record of an erasure
// would not explain a line without an id.
func (g *group) unborn() bool { return g.copied && g.info.Key == "" }

// describe returns the line for a backup.
func (c *census) describe(ctx context.Context, o *outcome) (is *registered, err error) {
	is = &registered{Backup: strings.TrimSuffix(strings.TrimPrefix(o.prefix, backupPrefix), "/"), Commit: o.commit}
	if o.info.Key != "" {
		is.Info = versionOf(o.info)
		if o.was != nil && o.was.Info.same(is.Info) {
			is.ID = o.was.ID
		} else if is.ID, err = c.id(ctx, o, is.Backup); err != nil {
			return nil, err
		}
	}
	if o.commit == 0 {
		return is, nil
	}
	is.Newest = versionOf(o.tip)
	switch {
	case o.was != nil && o.was.Commit == o.commit && o.was.Newest.same(is.Newest):
		is.Random = o.was.Random
	case o.counted.tip.number == o.commit && o.counted.tip.random != "":
		is.Random = o.counted.tip.random
	case c.present != nil:
		log := history.Log{Store: pinnedStore{c.store, o.tip}, Backup: is.Backup}
		h, err := log.Header(ctx, o.commit)
		if err != nil && failed(err) {
			return nil, err
		}
		is.Random = h.Random
	}
	return is, nil
}

// same reports whether a backup is the one in the register, and has its newest commit. A repair gives backup.json another id.
func (c *census) same(ctx context.Context, o *outcome, is *registered) (bool, error) {
	was := o.was
	if was.Commit > 0 && o.has(was) {
		return true, nil
	}
	log := history.Log{Store: c.store, Backup: was.Backup}
	return continues(ctx, &log, is.ID, o.commit, was)
}

// has reports whether the list shows the newest commit of a backup in the register, or this run has merged it.
func (o *outcome) has(was *registered) bool {
	if s := o.seen[commitName(was.Commit)]; s != nil && o.commit > was.Commit && was.Random != "" && s.Random == was.Random {
		return true
	}
	if o.commit == was.Commit {
		return was.Newest.same(versionOf(o.tip))
	}
	for _, info := range o.infos {
		if info.Key == o.prefix+commitName(was.Commit) {
			return was.Newest.same(versionOf(info))
		}
	}
	return false
}

// continues reports whether a log has the newest commit of a backup in the register. id is that of its backup, and newest its
// highest number of a single commit.
func continues(ctx context.Context, log *history.Log, id string, newest uint64, was *registered) (bool, error) {
	sameID := id != "" && id == was.ID && !was.Missed // a block must not end when retention reaches another log
	switch {
	case newest < was.Commit:
		return false, nil
	case was.Random == "":
		return sameID, nil
	}
	h, err := log.Header(ctx, was.Commit)
	switch {
	case err == nil:
		return h.Random == was.Random, nil
	case failed(err):
		return false, err
	}
	return sameID && newest > was.Commit, nil // retention has removed it since, or it is damaged, and the log goes on
}

// isAside reports whether a backup in the register was set aside since, and the copy is complete. An older copy explains
// nothing: it is of a former backup of the name, or this one was restored from it.
func (c *census) isAside(ctx context.Context, was *registered) (bool, error) {
	for f, err := range repository.CompleteAside(ctx, repository.Config{Store: c.store}, was.Backup, was.Time.Add(-listPrecision)) {
		if err != nil {
			return false, err
		}
		newest, err := newestCommit(ctx, f)
		if err != nil {
			return false, err
		}
		id := ""
		if i, err := repository.ReadBackupInfo(ctx, f.Partition.Store, f.Path); err == nil {
			id = i.ID
		} else if failed(err) {
			return false, err
		}
		if is, err := continues(ctx, f.Log(), id, newest, was); err != nil || is {
			return is, err
		}
	}
	return false, nil
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

// missingError describes a backup that is missing. is is the backup in its place, or nil.
func (c *census) missingError(was, is *registered) error {
	what := "it was there"
	if is != nil {
		what = fmt.Sprintf("it had commit %d, which the backup there now lacks", was.Commit)
		if was.Commit == 0 {
			what = "another one was there"
		}
	}
	return fmt.Errorf("%w: on %s %s, and neither a copy that was set aside since nor the record of an erasure shows what has become of it: is everything mounted? If this loss is known, run ctl_backups compact -A --accept-missing %s:%s",
		errMissing, was.Time.UTC().Format(time.RFC3339), what, c.partition, was.Backup)
}

// recognized adds the line of a backup to the register of this pass, and reports a missing one.
func (c *census) recognized(o *outcome) error {
	path := strings.TrimSuffix(o.prefix, "/")
	if o.missing != nil && !c.out.block(path, o.missing) && c.tell != nil {
		c.tell(BlockedError{path, o.missing})
	}
	if o.unchecked {
		c.out.Unchecked++
	}
	if o.accepted {
		c.out.Accepted = append(c.out.Accepted, o.was.Backup)
	}
	if o.line == nil || c.present == nil {
		return nil
	}
	return c.present.add(o.line)
}
