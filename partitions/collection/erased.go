package collection

import (
	"context"
	"time"

	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// erasedSince counts the backups that erasures have removed since the last pass: these are not
// missing. An erasure that was finished about then may be counted twice.
func (p *pass) erasedSince(ctx context.Context, last *Totals) (int, error) {
	var since time.Time
	if last != nil {
		since = last.Time.Add(-storeclock.Bound)
	}
	return p.erased(ctx, since)
}

// erased counts the backups that erasures have removed after a time.
func (p *pass) erased(ctx context.Context, since time.Time) (n int, err error) {
	for e, err := range repository.Erasures(ctx, repository.Config{Store: p.store}, since) {
		if err != nil && e == nil {
			return 0, err
		}
		if err != nil {
			continue // compact reports it
		}
		if e.State == repository.ErasureRemoving || e.Removed.After(since) {
			n += len(e.Copies)
		}
	}
	return n, nil
}

// emptied reports whether erasures explain that there is no backup.
func (p *pass) emptied(ctx context.Context) (bool, error) {
	if p.last != nil && p.last.Backups+p.last.Aside > p.gone {
		return false, nil
	}
	n, err := p.erased(ctx, time.Time{})
	return n > 0, err
}
