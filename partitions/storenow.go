package partitions

import (
	"context"
	"time"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// StoreNow returns the store's time for something that is about to be written. newest is the
// time of the newest commit of the log that is written to, or zero if there is none.
func (p *Partition) StoreNow(ctx context.Context, newest time.Time) time.Time {
	p.clock.Settle(ctx, func(ctx context.Context) {
		_, _ = p.store.Stat(ctx, repository.Key) // an error response carries the time too
	}, newest)
	return p.clock.Now(p.set.opt.Now())
}
