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

// noteTries is how often others may change a note in between.
const noteTries = 50

// NoteMoved notes under the name of an old pack that these entries of it are in another one.
func NoteMoved(ctx context.Context, s objstore.Store, unconditional bool, at time.Time, old string, entries []string, now string) error {
	key, _ := history.MovedKey(old)
	for range noteTries {
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
		m.Time = at.UTC()
		for _, e := range entries {
			m.Entries[e] = now
		}
		b, err := m.Append(nil)
		if err != nil {
			return err
		}
		_, err = s.Put(ctx, key, bytes.NewReader(b), o)
		if !errors.Is(err, objstore.ErrPrecondition) && !errors.Is(err, objstore.ErrExist) {
			return err
		}
	}
	return fmt.Errorf("%s: others have changed it %d times in between", key, noteTries)
}
