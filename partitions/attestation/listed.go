package attestation

import (
	"context"

	"github.com/cyrusbackup/backupd/objstore"
)

// HasLists reports whether a store has signed lists.
func HasLists(ctx context.Context, s objstore.Store) (bool, error) {
	for _, err := range s.List(ctx, Prefix, "") {
		return err == nil, err
	}
	return false, nil
}
