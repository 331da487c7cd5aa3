package ctlbackups

import (
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// lookedBack is how many commits of tools are passed over in search of one that a mail
// server has brought.
const lookedBack = 100

// lastChange is the time of the newest commit, up to a number, with which something
// came from a mail server; zero where there is none. Locks and moves write commits, too:
// who has every backup locked nightly, to copy it, still wants to know which have not
// been sent to.
func (c *command) lastChange(f *repository.Found, newest uint64) (time.Time, error) {
	for n := newest; n > 0 && newest-n < lookedBack; n-- {
		for r, err := range f.Log().Commits(c.ctx, n, n) {
			if history.IsUnreadable(err) {
				break // an older one says at least as much
			}
			if err != nil {
				return time.Time{}, err
			}
			if toolsOnly, err := ofTools(r); err != nil {
				return time.Time{}, err
			} else if !toolsOnly {
				return c.made(f, r.Header())
			}
		}
	}
	return time.Time{}, nil
}

// made is when a commit was made: by the clock of the host that wrote it, if the store's
// was wrong.
func (c *command) made(f *repository.Found, h history.Header) (time.Time, error) {
	at, doubt, err := f.Log().Made(c.ctx, h, c.now)
	if doubt != "" {
		cli.Fprintf(c.err, "ctl_backups: warning: %s: %s\n", label(f), doubt)
	}
	return at, err
}

// ofTools says that nothing of a commit came from a mail server.
func ofTools(r *history.CommitReader) (bool, error) {
	for e, err := range r.Events() {
		if err != nil {
			return false, err
		}
		switch e.(type) {
		case *history.LockedEvent, *history.SealedEvent, *history.RetainedEvent, *history.PruneEvent, *history.BridgedEvent, *history.LostEvent:
		default:
			return false, nil
		}
	}
	return true, nil
}
