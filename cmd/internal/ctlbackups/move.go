package ctlbackups

import (
	"errors"
	"fmt"

	"github.com/dustin/go-humanize/english"
	"iter"
	"os"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/transfer"
)

// move moves backups to another of the configured partitions.
func move(c *command) error {
	set, end, err := c.scratchSet()
	if err != nil {
		return err
	}
	err = c.eachOf(c.toMove(), func(f *repository.Found) error {
		if err := inPlace("move", f); err != nil {
			return err
		}
		dest, err := set.Partition(c.target)
		if err != nil {
			return c.copied("move", f, repository.Copied{}, err)
		}
		done, err := transfer.Move(c.ctx, set.Configs(), f.Name(), dest, c.lockOptions("move"), c.progress("move", f))
		if errors.Is(err, transfer.ErrThere) && c.many() {
			return nil
		}
		return c.copied("move", f, done, err)
	})
	return errors.Join(err, end())
}

// toMove returns the chosen backups in the other partitions, including copies that a move has
// left, so that an interrupted move can be repeated.
func (c *command) toMove() iter.Seq2[*repository.Found, error] {
	return func(yield func(*repository.Found, error) bool) {
		if !c.many() {
			for _, name := range c.args {
				if !yield(c.bucket.Leftover(c.ctx, c.single(), name)) {
					return
				}
			}
			return
		}
		for _, p := range c.bucket.Partitions {
			if p.Name == c.target && c.mode == modeAll {
				continue
			}
			for f, err := range repository.Browse(c.ctx, p) {
				// Backups already in the target match the names, too; and this move completes what an
				// earlier one has left unfinished there.
				if err == nil && (!c.fits(f) || p.Name == c.target) || errors.Is(err, repository.ErrIncomplete) && p.Name == c.target {
					continue
				}
				if !yield(f, err) {
					return
				}
			}
		}
		for err := range c.unmatched() {
			if !yield(nil, err) {
				return
			}
		}
	}
}

// lockOptions returns the lock options of a verb that writes to the logs of backups.
func (c *command) lockOptions(verb string) repository.LockOptions {
	return repository.LockOptions{
		Owner: fmt.Sprintf("ctl_backups %s, process %d on %s", verb, os.Getpid(), c.host), Host: c.host, Now: c.clock, Wait: c.wait,
	}
}

// progress prints the copied amounts so far on standard error, with -vv.
func (c *command) progress(verb string, f *repository.Found) func(repository.Copied) {
	if c.verbose < 2 {
		return nil
	}
	return func(d repository.Copied) {
		cli.Fprintf(c.err, "%s %s: %s\n", verb, label(f), copiedText(d))
	}
}

// copied prints the result for a backup, and with -v the copied amounts.
func (c *command) copied(verb string, f *repository.Found, d repository.Copied, err error) error {
	if printed := c.status(verb, f, err); printed != nil {
		return printed
	}
	c.tally.add(d, err)
	if err != nil {
		return errors.Join(cli.ErrReported, c.ctx.Err())
	}
	if c.verbose == 0 {
		return nil
	}
	_, err = cli.Fprintf(c.out, "  %s\n", copiedText(d))
	return err
}

func copiedText(d repository.Copied) string {
	return fmt.Sprintf("%s, %s, %s", objects(int64(d.Objects), "object"), english.Plural(d.Chunks, "message or piece", "messages and pieces"), binary(d.Bytes))
}
