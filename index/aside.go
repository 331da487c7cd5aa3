package index

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// An index that was set aside is kept for whoever wants to know what had happened to it:
// the newest as dir + ".damaged", the one before as dir + ".damaged.old".
func asideNames(dir string) (newest, old string) {
	dir = filepath.Clean(dir)
	return dir + ".damaged", dir + ".damaged.old"
}

// setAside makes room for a new index. What was set aside before never keeps it from that.
func setAside(dir string, log *slog.Logger) error {
	newest, old := asideNames(dir)
	if err := os.RemoveAll(old); err != nil {
		log.Warn("an index that was set aside cannot be removed", "dir", old, "err", err)
	}
	if err := os.Rename(newest, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Warn("an index that was set aside cannot be renamed", "dir", newest, "err", err)
	}
	err := os.Rename(dir, newest)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		log.Warn("indexes that were set aside are kept; they may be removed", "kept", SetAside(dir), "newest", newest)
		return nil
	}
	// A mount point, or a name that is taken for good: its content goes instead.
	log.Warn("the damaged index cannot be renamed: it is removed", "dir", dir, "err", err)
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

// dropAside removes the oldest index that was set aside; false: there is none.
func dropAside(dir string, log *slog.Logger) (bool, error) {
	newest, old := asideNames(dir)
	for _, name := range []string{old, newest} {
		if _, err := os.Lstat(name); err != nil {
			continue
		}
		if err := os.RemoveAll(name); err != nil {
			return false, fmt.Errorf("remove %s: %w", name, err)
		}
		log.Warn("an index that was set aside is removed: its disk is short of room", "dir", name)
		return true, nil
	}
	return false, nil
}
