package index

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// Check opens the index in dir for reading, without a lock and without a change of any file, and
// returns an error if that fails or the index has another format. No other process may have it open.
func Check(dir string) (err error) {
	if err := accessible(dir); err != nil {
		return fmt.Errorf("open index %s: %w", dir, err)
	}
	defer func() {
		if p := recover(); p != nil { // Badger trusts its files
			err = fmt.Errorf("open index %s: %v", dir, p)
		}
	}()
	db, err := badger.Open(settings(dir, slog.New(slog.DiscardHandler)).WithReadOnly(true).WithBypassLockGuard(true))
	if err != nil && strings.Contains(err.Error(), badger.ErrTruncateNeeded.Error()) {
		return nil // its process was killed; opening it for writing repairs that
	}
	if err != nil {
		return fmt.Errorf("open index %s: %w", dir, openError(err))
	}
	err = db.View(func(t *badger.Txn) error {
		i, err := t.Get(Key{prefixVersion})
		if err != nil {
			return err
		}
		return i.Value(func(v []byte) error {
			if string(v) != formatVersion {
				return fmt.Errorf("index has format %q, this program writes %q", v, formatVersion)
			}
			return nil
		})
	})
	return errors.Join(err, db.Close())
}
