package ctlbackups

import (
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// reported calls functions one after another. Backups that failed, which the first one has
// reported, do not stop the others.
func (c *command) reported(fns ...func() error) error {
	failed := false
	for _, fn := range fns {
		err := fn()
		if errors.Is(err, cli.ErrReported) && !c.stop {
			failed = true
			continue
		}
		if err != nil {
			return err
		}
	}
	if failed {
		return cli.ErrReported
	}
	return nil
}

// withHolds appends the holds of a backup to the last cell of its line.
func withHolds(text string, holds []repository.Hold) string {
	if len(holds) == 0 {
		return text
	}
	return text + "  on hold: " + repository.HoldsText(holds)
}

// printRetention prints what backup_retention keeps.
func (c *command) printRetention(t *statTotals) error {
	text := "backup_retention is not set: everything is kept for ever"
	if p := retentionPolicy(c.bucket.Conf); p.Keep > 0 {
		text = "retention: " + p.String()
	}
	if !t.oldest.IsZero() && t.oldest.Before(c.now) {
		text += "; the oldest line was measured at " + timespec.Text(t.oldest)
	}
	_, err := cli.Fprintf(c.out, "\n%s\n", text)
	return err
}

// partitionTable prints a table of the partitions, as the last compact -A has found them.
func (c *command) partitionTable() error {
	if c.mode != modeAll || c.stale >= 0 || c.holds {
		return nil
	}
	if _, err := cli.Fprintf(c.out, "\n"); err != nil {
		return err
	}
	titles := []string{"packs", "used", "mostly dead", "condemned", "unused, young", "reclaimable", "backups", "set aside", "counted", "partition"}
	return c.inTable(titles, func() error {
		for _, p := range c.bucket.Partitions {
			if err := c.printPartition(p); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *command) printPartition(p repository.Config) error {
	last, err := collection.Last(c.ctx, p.Store)
	switch {
	case err != nil && c.ctx.Err() == nil:
		return c.cells("-", "-", "-", "-", "-", "-", "-", "-", "-", p.Name+": "+err.Error())
	case err != nil:
		return err
	case last == nil:
		return c.cells("-", "-", "-", "-", "-", "-", "-", "-", "never: run compact -A", p.Name)
	}
	size := func(a collection.Amount) string { return c.size(a.Bytes) }
	return c.cells(size(last.All), size(last.Used), size(last.Sparse), size(last.Condemned), size(last.Young), size(last.Reclaimable()),
		fmt.Sprint(last.Backups), fmt.Sprint(last.Aside), timespec.Text(last.Time), p.Name)
}
