package ctlbackups

import (
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// cancelHistory ends the erasure of the history of a backup before a time, after a question.
func (c *command) cancelHistory(arg string, t *eraseTotals) error {
	n, list, err := c.openHistories(arg)
	if err != nil {
		return err
	}
	if c.dryRun {
		return c.showCancelled(n, list)
	}
	if err := c.confirmed(n, "end its erasure, whatever is left", func() error { return c.showCancelled(n, list) }); err != nil {
		return err
	}
	for _, r := range list {
		for _, p := range c.bucket.Partitions {
			if p.Name != r.Partition {
				continue
			}
			e, err := erasure.CancelHistory(c.ctx, p, r.ID, c.lockOptions("erase"))
			if err == nil {
				err = c.erasedPart(erasure.Done{Record: erasure.Record{Partition: p.Name, Erasure: e}})
			}
			if err != nil {
				return fmt.Errorf("partition %s: %w", p.Name, err)
			}
		}
	}
	t.backups++
	return nil
}

// openHistories returns the erasures that cancelHistory ends. An argument that may mean several backups is an error.
func (c *command) openHistories(arg string) (of repository.Name, found []erasure.Record, err error) {
	names, err := c.bucket.WholeNames(c.single(), arg)
	if err != nil {
		return of, nil, err
	}
	for _, n := range names {
		list, err := erasure.OpenHistories(c.ctx, c.bucket.Partitions, n, c.history)
		switch {
		case err != nil:
			return of, nil, err
		case len(list) > 0 && len(found) > 0:
			return of, nil, fmt.Errorf("it may mean %s or %s: give the path, %s or %s, with -f", of, n, of.Path(), n.Path())
		case len(list) > 0:
			of, found = n, list
		}
	}
	if len(found) == 0 {
		err = errors.New("no erasure of its history before " + timespec.Text(c.history) + " is open: see ctl_backups erase --list")
	}
	return of, found, err
}

// showCancelled prints what cancelHistory would end.
func (c *command) showCancelled(n repository.Name, list []erasure.Record) error {
	for _, r := range list {
		if c.structured() {
			if err := c.eraseObject(r); err != nil {
				return err
			}
			continue
		}
		_, err := cli.Fprintf(c.out, "erase %s: %s: the erasure of the history before %s, by %s: %s, is not complete: what is left of it stays, in the backup and in packs. No later erasure finds bodies that are left in packs with the mail of others\n",
			nameOf(n), r.Partition, timespec.Text(r.Before), r.By, r.Reason)
		if err != nil {
			return err
		}
	}
	return nil
}
