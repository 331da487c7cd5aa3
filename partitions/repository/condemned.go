package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// TotalsKey is the key of the totals of the last collection.
const TotalsKey = "collection.json"

// CheckCondemned returns an error if condemned.json is unreadable, or was lost.
func CheckCondemned(ctx context.Context, s objstore.Store) error {
	_, info, err := history.ReadCondemned(ctx, s)
	if err != nil || info.ETag != "" {
		return err
	}
	b, _, err := ReadSmall(ctx, s, TotalsKey)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var last struct{ Condemned, Sparse struct{ Packs int } }
	if json.Unmarshal(b, &last) != nil {
		return nil // the next collection puts it again
	}
	return CondemnedLost(info, last.Condemned.Packs+last.Sparse.Packs)
}

// CondemnedLost returns an error if there is no list although the last collection has left packs
// on it: writers refer to packs that a delayed request may still delete. listed is that of
// history.ReadCondemned.
func CondemnedLost(listed objstore.Info, packs int) error {
	if listed.ETag != "" || packs == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w: it does not exist, but the last collection left %d packs on it: run ctl_backups verify --repair", history.CondemnedKey, history.ErrCorrupt, packs)
}
