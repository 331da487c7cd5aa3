package ctlbackups

import (
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// lookedBack limits how many commits of tools are skipped in the search for a commit from a
// mail server.
const lookedBack = 100

// lastChange returns the time of the newest commit, up to a number, with data from a mail
// server; zero if there is none. Locks and moves write commits, too. A site that locks all
// backups nightly, to copy them, still wants to see which mail servers have stopped sending.
func (c *command) lastChange(f *repository.Found, newest uint64) (time.Time, error) {
	for n := newest; n > 0 && newest-n < lookedBack; n-- {
		for r, err := range f.Log().Commits(c.ctx, n, n) {
			if history.IsUnreadable(err) {
				break // older commits are no newer
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

// made returns the time of a commit: by the clock of the host that wrote it if the store's
// clock was wrong.
func (c *command) made(f *repository.Found, h history.Header) (time.Time, error) {
	at, doubt, err := f.Log().Made(c.ctx, h, c.now)
	if doubt != "" {
		cli.Fprintf(c.err, "ctl_backups: warning: %s: %s\n", label(f), doubt)
	}
	return at, err
}

// ofTools reports whether a commit has no data from a mail server.
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
