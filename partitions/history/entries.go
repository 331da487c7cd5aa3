package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// entry is an entry of an object that is read as a stream; body is valid until the next entry.
type entry struct {
	name string
	size int64
	body io.Reader
}

var errStop = errors.New("the reader has stopped")

// entriesOf yields the entries of an object from its start. Every error names the object.
func entriesOf(ctx context.Context, s objstore.Store, key string) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		obj, err := s.Get(ctx, key, 0, -1)
		if err != nil {
			yield(entry{}, err)
			return
		}
		defer obj.Close()
		err = pack.Scan(obj, func(name string, size int64, body io.Reader) error {
			if !yield(entry{name, size, body}, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(entry{}, inObject(key, err))
		}
	}
}

// inObject adds the key of the object to an error, unless the error contains it. It also
// translates errors of package pack to those of this package.
func inObject(key string, err error) error {
	if err == nil || strings.Contains(err.Error(), key) {
		return err
	}
	switch {
	case errors.Is(err, pack.ErrCorrupt) && !errors.Is(err, ErrCorrupt):
		return fmt.Errorf("%s: %w: %w", key, ErrCorrupt, err)
	case errors.Is(err, pack.ErrVersion) && !errors.Is(err, ErrVersion):
		return fmt.Errorf("%s: %w: %w", key, ErrVersion, err)
	}
	return fmt.Errorf("%s: %w", key, err)
}
