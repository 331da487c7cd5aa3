package maintenance

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// removeOdd removes objects that readers of the log ignore: segments that do not belong to
// it, and single commits that contradict a segment. Every commit of the log stays readable.
func (m *Merger) removeOdd(ctx context.Context, job *Merged, log *history.Log) error {
	odd, err := log.Odd(ctx)
	if err != nil || len(odd) == 0 {
		return err
	}
	outline, err := log.Outline(ctx)
	if err != nil {
		return err
	}
	for _, o := range odd {
		if o.To >= outline.Newest || outline.Missing > 0 {
			// It may be all that is left of a newer log, so a person has to look at it.
			return fmt.Errorf("%s: %s: nothing is merged, run ctl_backups verify", o.Key, o.Reason)
		}
		old, err := m.oldEnough(ctx, o.Key)
		if err != nil {
			return err
		}
		if !old {
			continue
		}
		if err := job.Upkeep.Check(); err != nil {
			return err
		}
		if err := sameBackup(ctx, job.Found); err != nil {
			return err
		}
		if err := m.p.Store.Delete(ctx, o.Key); err != nil {
			return err
		}
		job.Removed++
	}
	return nil
}

// oldEnough reports whether an object may be removed because of its age.
func (m *Merger) oldEnough(ctx context.Context, key string) (bool, error) {
	info, err := m.p.Store.Stat(ctx, key)
	return err == nil && !info.Modified.IsZero() && info.Modified.Before(m.o.Before), err
}
