package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// notePutTries is how often NoteMoved retries after another writer has changed the note.
const notePutTries = 50

// NoteMoved adds to the note of an old pack in moved/ that these entries are in the pack
// now.
func NoteMoved(ctx context.Context, s objstore.Store, unconditional bool, at time.Time, old string, entries []string, now string) error {
	return ChangeMoved(ctx, s, unconditional, at, old, func(m *history.Moved) bool {
		for _, e := range entries {
			m.Entries[e] = now
		}
		return true
	})
}

// ChangeMoved changes the note about an old pack, unless change returns false. Change may be called
// again, with a newer note.
func ChangeMoved(ctx context.Context, s objstore.Store, unconditional bool, at time.Time, old string, change func(*history.Moved) bool) error {
	key, _ := history.MovedKey(old)
	for range notePutTries {
		m, info, err := history.ReadMoved(ctx, s, old)
		o := objstore.PutOptions{IfMatch: info.ETag}
		if errors.Is(err, objstore.ErrNotExist) {
			m, err = &history.Moved{Version: history.Version, Pack: old, Entries: map[string]string{}}, nil
			o = objstore.PutOptions{IfAbsent: true}
		}
		if err != nil {
			return err
		}
		if unconditional {
			o = objstore.PutOptions{}
		}
		if !change(m) {
			return nil
		}
		m.Time = at.UTC()
		b, err := m.Append(nil)
		if err != nil {
			return err
		}
		_, err = s.Put(ctx, key, bytes.NewReader(b), o)
		if !errors.Is(err, objstore.ErrPrecondition) && !errors.Is(err, objstore.ErrExist) {
			return err
		}
	}
	return fmt.Errorf("%s: other writers changed it %d times in a row: try again", key, notePutTries)
}
