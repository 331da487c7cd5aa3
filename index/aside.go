package index

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// asideNames returns the directories of the indexes that were set aside, which are kept for
// later analysis: the newest is dir + ".damaged", the previous one dir + ".damaged.old".
func asideNames(dir string) (newest, old string) {
	dir = filepath.Clean(dir)
	return dir + ".damaged", dir + ".damaged.old"
}

// setAside makes room for a new index. Indexes already set aside never prevent this.
func setAside(dir string, log *slog.Logger) error {
	newest, old := asideNames(dir)
	if err := os.RemoveAll(old); err != nil {
		log.Warn("cannot remove an index that was set aside", "dir", old, "err", err)
	}
	if err := os.Rename(newest, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Warn("cannot rename an index that was set aside", "dir", newest, "err", err)
	}
	err := os.Rename(dir, newest)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		log.Warn("indexes that were set aside are kept; they may be removed", "kept", SetAside(dir), "newest", newest)
		return nil
	}
	// The directory is a mount point, or the name is taken permanently: remove its contents
	// instead.
	log.Warn("cannot rename the damaged index: removing it", "dir", dir, "err", err)
	return emptyDir(dir)
}

func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return errors.Join(errs...)
}

// SetAside counts the damaged indexes that are kept beside dir.
func SetAside(dir string) (n int) {
	newest, old := asideNames(dir)
	for _, name := range []string{newest, old} {
		if _, err := os.Lstat(name); err == nil {
			n++
		}
	}
	return n
}

// dropAside removes the oldest index that was set aside. It returns false if there is none.
func dropAside(dir string, log *slog.Logger) (bool, error) {
	newest, old := asideNames(dir)
	for _, name := range []string{old, newest} {
		if _, err := os.Lstat(name); err != nil {
			continue
		}
		if err := os.RemoveAll(name); err != nil {
			return false, fmt.Errorf("remove %s: %w", name, err)
		}
		log.Warn("removed an index that was set aside: the disk is short of space", "dir", name)
		return true, nil
	}
	return false, nil
}
