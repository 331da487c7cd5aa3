package ctlbackups

import (
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// cancelPart ends the erasure of a part of a backup, after a question.
func (c *command) cancelPart(arg string, t *eraseTotals) error {
	n, list, err := c.openParts(arg)
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

// openParts returns the erasures that cancelPart ends. An argument that may mean several backups is an error.
func (c *command) openParts(arg string) (of repository.Name, found []erasure.Record, err error) {
	names, err := c.bucket.WholeNames(c.single(), arg)
	if err != nil {
		return of, nil, err
	}
	for _, n := range names {
		list, err := erasure.OpenParts(c.ctx, c.bucket.Partitions, n, c.isPart)
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
		err = errors.New("no such erasure of it is open: see ctl_backups erase --list")
	}
	return of, found, err
}

// isPart reports whether an erasure is of the part that the options mean.
func (c *command) isPart(e *repository.Erasure) bool {
	if len(c.guids) > 0 {
		return e.IsAbout(c.guids)
	}
	return e.OfHistory() && e.Before.Equal(c.history)
}

// showCancelled prints what cancelPart would end.
func (c *command) showCancelled(n repository.Name, list []erasure.Record) error {
	for _, r := range list {
		if c.structured() {
			if err := c.eraseObject(r); err != nil {
				return err
			}
			continue
		}
		_, err := cli.Fprintf(c.out, "erase %s: %s: the erasure of %s, by %s: %s, is not complete: what is left of it stays, in the backup and in packs. No later erasure finds bodies that are left in packs with the mail of others\n",
			nameOf(n), r.Partition, partText(r.Erasure), r.By, r.Reason)
		if err != nil {
			return err
		}
	}
	return nil
}
