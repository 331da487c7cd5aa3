package cli

import (
	"context"
	"time"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Holds returns the active holds of a backup. If holds.json is unreadable, doubt is the reason, and
// the backup counts as on hold.
func Holds(ctx context.Context, f *repository.Found, now time.Time) (active []repository.Hold, doubt, err error) {
	h, err := f.ReadHolds(ctx)
	switch {
	case err == nil:
		return h.Active(now), nil, nil
	case repository.IsStoreError(err):
		return nil, nil, err
	}
	return []repository.Hold{repository.UnreadableHold()}, err, nil
}
