package transfer

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// ErrThere reports that the backup is already in the target partition.
var ErrThere = errors.New("the backup is already in that partition")

// Move moves a backup with all its history from one of the partitions to another, under
// the lock of the backup. From the seal in the old log on, the backup is in use in the
// target. After an interruption, the same call finishes the move. The objects in the old
// partition stay until collection. A daemon that has the backup open follows by itself.
func Move(ctx context.Context, from []repository.Config, n repository.Name, dest Target, o repository.LockOptions, report func(repository.Copied)) (repository.Copied, error) {
	repo, err := dest.Repository(ctx)
	if err != nil {
		return repository.Copied{}, err
	}
	end, err := moving(ctx, from, n, repo.ID)
	if err != nil {
		return repository.Copied{}, err
	}
	if end.Repo == repo.ID {
		return repository.Copied{}, ErrThere
	}
	c := newCopier(end.Found, dest, report)
	if err := c.sameBackup(ctx); err != nil {
		return c.done, err
	}
	if end.Sealed() {
		return c.done, c.finish(ctx)
	}
	return c.done, c.locked(ctx, o, func(ctx context.Context, l *repository.Lock) error {
		if err := end.Found.CheckErasures(ctx); err != nil {
			return err
		}
		if err := c.seal(ctx, l, repo.ID); err != nil {
			return err
		}
		return c.finish(ctx)
	})
}

// moving returns the copy to move into the repository repo: the one in use, or the one
// that an interrupted move to repo has sealed.
func moving(ctx context.Context, parts []repository.Config, n repository.Name, repo string) (repository.LogEnd, error) {
	copies, unasked, err := repository.CopiesOf(ctx, parts, n)
	if err == nil && len(unasked) > 0 {
		err = unasked[0] // the backup to move may be there
	}
	if err != nil {
		return repository.LogEnd{}, err
	}
	at, err := repository.Current(ctx, copies)
	switch {
	case errors.Is(err, repository.ErrHalfMoved):
		return leaving(ctx, copies, repo)
	case err != nil:
		return repository.LogEnd{}, err
	case at == nil:
		return repository.LogEnd{}, fmt.Errorf("%s: %w", n, repository.ErrNoBackup)
	}
	end, err := at.LogEnd(ctx)
	if err == nil && end.Sealed() {
		return leaving(ctx, copies, repo)
	}
	return end, err
}

// leaving returns the copy whose log ends with a seal that names the repository repo.
func leaving(ctx context.Context, copies []*repository.Found, repo string) (repository.LogEnd, error) {
	for _, f := range copies {
		end, err := f.LogEnd(ctx)
		if err != nil || end.Sealed() && end.Seal.To == repo {
			return end, err
		}
	}
	return repository.LogEnd{}, fmt.Errorf("the backup of %s is half moved to another partition, or was moved to a partition that is not configured here: finish that move, or configure that partition", copies[0].Name())
}

// sealTries is how many commit numbers are tried for the seal. A daemon may take some of
// them before it reads about the lock.
const sealTries = 10

// locked calls do under the lock of the backup. A daemon that waits for the lock finds the
// backup complete afterwards, in the old partition or in the new one.
func (c *copier) locked(ctx context.Context, o repository.LockOptions, do func(context.Context, *repository.Lock) error) (err error) {
	u, err := repository.ExcludeUpkeep(ctx, c.from, o) // which would replace objects meanwhile
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.End(context.WithoutCancel(ctx))) }()
	l, err := c.from.Lock(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Release(context.WithoutCancel(ctx))) }()
	during, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(u.Lost(), cancel)()
	defer context.AfterFunc(l.Lost(), cancel)()
	return do(during, l)
}

// seal copies the present log, and then ends it in the old partition.
func (c *copier) seal(ctx context.Context, l *repository.Lock, repo string) error {
	for range sealTries {
		highest, err := c.from.HighestNumber(ctx) // Newest would mistake a hole in the log for its end
		if err != nil {
			return err
		}
		tip, err := c.from.OpenTip(ctx, highest)
		if err != nil {
			return err
		}
		if err := c.upTo(ctx, tip.Number); err != nil {
			return err
		}
		if err := c.unannounce(ctx); err != nil { // if this fails, the backup must stay in use here
			return err
		}
		at, err := l.Now(ctx)
		if err != nil {
			return err
		}
		h := l.Options.Header(c.from, tip, at)
		h.Connection = "move"
		won, err := c.from.PutCommit(ctx, h, &history.SealedEvent{Reason: "moved", To: repo})
		if won || err != nil {
			return err
		}
	}
	return fmt.Errorf("seal the log of %s: other writers took %d commit numbers in a row: try again", c.from.Name(), sealTries)
}

// finish copies the rest of the log, and makes the copy visible. An export keeps its CopyingKey until
// then: retention may remove what was copied, and without backup.json only the key shows whose copy it was.
// A moved log is sealed, so that retention leaves it as it is.
func (c *copier) finish(ctx context.Context) error {
	highest, err := c.from.HighestNumber(ctx)
	if err != nil {
		return err
	}
	if err := c.upTo(ctx, highest); err != nil {
		return err
	}
	if c.exporting {
		if err := c.putInfo(ctx); err != nil {
			return err
		}
		if err := c.unannounce(ctx); err != nil {
			return err
		}
		return c.unfinished(ctx)
	}
	if err := c.unannounce(ctx); err != nil {
		return err
	}
	return c.putInfo(ctx)
}

// Copy exports a backup: it copies the present state and history into another partition.
// Another call adds new commits. The tools read the copy like any other backup; it must be
// imported before a daemon can write to it.
func Copy(ctx context.Context, f *repository.Found, dest Target, report func(repository.Copied)) (repository.Copied, error) {
	if _, err := dest.Repository(ctx); err != nil {
		return repository.Copied{}, err
	}
	c := newCopier(f, dest, report)
	c.exporting = true
	if err := c.sameBackup(ctx); err != nil {
		return c.done, err
	}
	err := c.finish(ctx)
	for range copyTries {
		if !errors.Is(err, objstore.ErrNotExist) && !errors.Is(err, errChanged) && !errors.Is(err, history.ErrNotKept) {
			break
		}
		err = c.finish(ctx) // compact has merged or removed commits meanwhile: the next list is as it left them
	}
	return c.done, err
}

// unfinished returns an error, history.ErrUnfinished, if the log in the target still lacks commits of another copy.
func (c *copier) unfinished(ctx context.Context) error {
	if c.end.beyond == 0 {
		return nil
	}
	log := history.Log{Store: c.to.Config().Store, Backup: c.from.Path, ID: c.from.Info.ID}
	o, err := log.Outline(ctx)
	if err != nil {
		return err
	}
	return o.Unfinished()
}

// copyTries is how often a copy begins again after an object has disappeared.
const copyTries = 3

// Import copies a backup out of a repository that Copy has written, and makes it writable.
// The caller must check that no partition has a backup of that name.
func Import(ctx context.Context, f *repository.Found, dest Target, o repository.LockOptions, report func(repository.Copied)) (repository.Copied, error) {
	repo, err := dest.Repository(ctx)
	if err != nil {
		return repository.Copied{}, err
	}
	c := newCopier(f, dest, report)
	c.importing = true
	from, err := f.Log().Outline(ctx) // before anything is judged by the end of this log
	if err == nil {
		err = from.Unfinished()
	}
	if err != nil {
		return c.done, err
	}
	now := &repository.Found{Partition: dest.Config(), Path: f.Path, Info: f.Info}
	end, err := now.LogEnd(ctx)
	if err != nil {
		return c.done, err
	}
	if end.Seal == nil || end.Sealed() { // else an interrupted import has done this step
		if err := c.takeOver(ctx, now, repo.ID, o); err != nil {
			return c.done, err
		}
	}
	return c.done, c.putInfo(ctx)
}

// takeOver copies the log. If it is sealed for another repository, takeOver adds a seal for
// this one, so that the log continues here.
func (c *copier) takeOver(ctx context.Context, now *repository.Found, repo string, o repository.LockOptions) error {
	tip, _, err := c.from.Tip(ctx, 0)
	if err != nil || tip.Number == 0 {
		return err
	}
	if err := c.upTo(ctx, tip.Number); err != nil {
		return err
	}
	if err := c.unannounce(ctx); err != nil {
		return err
	}
	m, err := now.Load(ctx, history.Moment{})
	if err != nil {
		return err
	}
	defer m.Close()
	seal, err := repository.SealOf(m)
	if err != nil || seal == nil || seal.To == repo {
		return err
	}
	o.SetDefaults()
	h := o.Header(now, tip, c.to.StoreNow(ctx, tip.Time))
	h.Connection = "import"
	won, err := now.PutCommit(ctx, h, &history.SealedEvent{Reason: "imported", To: repo})
	if err == nil && !won {
		err = fmt.Errorf("import the backup of %s: another writer took commit number %d: try again", now.Name(), h.Number)
	}
	return err
}
