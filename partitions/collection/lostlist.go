package collection

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// CheckCondemned returns an error if condemned.json is unreadable, or was lost: then writers refer to
// packs that a delayed request may still delete.
func CheckCondemned(ctx context.Context, s objstore.Store) error {
	_, info, err := history.ReadCondemned(ctx, s)
	if err != nil || info.ETag != "" {
		return err
	}
	last, err := Last(ctx, s)
	if err != nil {
		return err
	}
	return listLost(info, last)
}

// listLost returns an error if there is no list although the last pass has left packs on it. listed
// is that of ReadCondemned.
func listLost(listed objstore.Info, last *Totals) error {
	if listed.ETag != "" || last == nil || last.Condemned.Packs == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w: it does not exist, but the last collection left %d packs on it: run ctl_backups verify --repair", history.CondemnedKey, history.ErrCorrupt, last.Condemned.Packs)
}
