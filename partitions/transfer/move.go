package transfer

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// ErrThere: the backup is where it should be moved to.
var ErrThere = errors.New("it is in that partition already")

// Move moves a backup with all its history from one of the partitions to another. Writers are
// kept off with a lock meanwhile. The seal in the old log is the point from which on it
// lives in the other; a move that was cut off is finished by doing it again. What is in
// the old partition stays there, for collection. A daemon that has the backup open
// follows it by itself.
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
		if err := c.seal(ctx, l, repo.ID); err != nil {
			return err
		}
		return c.finish(ctx)
	})
}

// moving is the copy that shall be moved into a repository: that in which the backup
// lives, or the one that it has left for that repository in a move that was cut off.
func moving(ctx context.Context, parts []repository.Config, n repository.Name, repo string) (repository.LogEnd, error) {
	copies, unasked, err := repository.CopiesOf(ctx, parts, n)
	if err == nil && len(unasked) > 0 {
		err = unasked[0] // it may be the one from which the backup has to be moved
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

// leaving is the copy whose log ends with a seal for the repository.
func leaving(ctx context.Context, copies []*repository.Found, repo string) (repository.LogEnd, error) {
	for _, f := range copies {
		end, err := f.LogEnd(ctx)
		if err != nil || end.Sealed() && end.Seal.To == repo {
			return end, err
		}
	}
	return repository.LogEnd{}, fmt.Errorf("the backup of %s is half moved to another partition than this one, or was moved to one that is not configured here", copies[0].Name())
}

// sealTries is how often a daemon may win the number that the seal wants, before it has
// read of the lock.
const sealTries = 10

// locked does something while every writer is kept off. A daemon that waits for the end
// of the lock finds the backup whole, wherever it is then.
func (c *copier) locked(ctx context.Context, o repository.LockOptions, do func(context.Context, *repository.Lock) error) (err error) {
	l, err := c.from.Lock(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Release(context.WithoutCancel(ctx))) }()
	during, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.Lost(), cancel)()
	return do(during, l)
}

// seal copies what there is, and then ends the log in the old partition.
func (c *copier) seal(ctx context.Context, l *repository.Lock, repo string) error {
	for range sealTries {
		highest, err := c.from.HighestNumber(ctx) // a hole in the log would look like its end
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
	return fmt.Errorf("seal the log of %s: %d numbers of it were taken by others", c.from.Name(), sealTries)
}

// finish copies the sealed log to its end, and makes the backup visible.
func (c *copier) finish(ctx context.Context) error {
	highest, err := c.from.HighestNumber(ctx)
	if err != nil {
		return err
	}
	if err := c.upTo(ctx, highest); err != nil {
		return err
	}
	return c.putInfo(ctx)
}

// Copy copies a backup into another partition as it is now, to export it. Done again it adds what is new. The copy is read by the tools like any
// other; what is to be written to has to be imported.
func Copy(ctx context.Context, f *repository.Found, dest Target, report func(repository.Copied)) (repository.Copied, error) {
	if _, err := dest.Repository(ctx); err != nil {
		return repository.Copied{}, err
	}
	c := newCopier(f, dest, report)
	if err := c.sameBackup(ctx); err != nil {
		return c.done, err
	}
	return c.done, c.finish(ctx)
}

// Import copies a backup out of an exported repository, as Copy has made it, and lets
// daemons write to it. No partition may hold a backup of that name: the caller checks.
func Import(ctx context.Context, f *repository.Found, dest Target, o repository.LockOptions, report func(repository.Copied)) (repository.Copied, error) {
	repo, err := dest.Repository(ctx)
	if err != nil {
		return repository.Copied{}, err
	}
	c := newCopier(f, dest, report)
	now := &repository.Found{Partition: dest.Config(), Path: f.Path, Info: f.Info}
	end, err := now.LogEnd(ctx)
	if err != nil {
		return c.done, err
	}
	if end.Seal == nil || end.Sealed() { // else an import was cut off after this step
		if err := c.takeOver(ctx, now, repo.ID, o); err != nil {
			return c.done, err
		}
	}
	return c.done, c.putInfo(ctx)
}

// takeOver copies the log, and lets it go on here if it says that it goes on elsewhere.
func (c *copier) takeOver(ctx context.Context, now *repository.Found, repo string, o repository.LockOptions) error {
	tip, _, err := c.from.Tip(ctx, 0)
	if err != nil || tip.Number == 0 {
		return err
	}
	if err := c.upTo(ctx, tip.Number); err != nil {
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
		err = fmt.Errorf("commit %d of %s was put by somebody else meanwhile", h.Number, now.Name())
	}
	return err
}
