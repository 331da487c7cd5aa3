package dirstore

import (
	"context"
	"errors"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/objstore"
)

// Delete removes the file. It keeps directories, because removing them would race with
// puts. If the object is missing, its removal may not have been synced, so Delete syncs the
// directory.
func (s *Store) Delete(ctx context.Context, key string) error {
	_, err := run(ctx, s, "delete", key, nil, func(c *call) (struct{}, error) {
		now := s.now(c)
		err := s.delete(c, key)
		if err != nil {
			err = failed("delete", key, now, err)
		}
		return struct{}{}, err
	})
	return err
}

func (s *Store) delete(c *call, key string) error {
	if err := s.check(c.ctx, key); err != nil {
		return err
	}
	if s.readOnly || s.clock == "" {
		return objstore.ErrDenied
	}
	path := s.path(key)
	err := s.syncAfter(c, filepath.Dir(path), func() error {
		return s.lock.with(c, func() error {
			err := c.do("unlink", path, func() error { return unix.Unlink(path) })
			if errors.Is(err, unix.ENOENT) {
				return nil
			}
			return err
		})
	})
	if errors.Is(err, unix.EISDIR) {
		return nil
	}
	if absent(err) {
		if err = s.missing(c); errors.Is(err, objstore.ErrNotExist) {
			return nil
		}
	}
	return err
}
