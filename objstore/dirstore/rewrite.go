package dirstore

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cyrusbackup/backupd/objstore"
)

// rewriteTries is how often an object is rewritten while other processes replace it.
const rewriteTries = 5

// rewrite replaces an object by a copy: the same bytes and times in a new file under a new
// entry, so that there is something to sync. Readers always find the object.
func (s *Store) rewrite(c *call, key string) error {
	for range rewriteTries {
		st, err := s.copyOver(c, key)
		if errors.Is(err, errReplaced) {
			continue
		}
		if err == nil {
			s.know(key, st)
		}
		return err
	}
	return errReplaced
}

// errReplaced means that somebody else put another version of the object meanwhile.
var errReplaced = errors.New("the object is replaced again and again")

func (s *Store) copyOver(c *call, key string) (st fs.FileInfo, err error) {
	path := s.path(key)
	old, err := openFile(c, path)
	if absent(err) {
		return nil, s.missing(c)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = old.Close() }() // nothing was written
	temp, err := s.createTemp(c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.closeTemp(c, temp, err != nil)) }()
	if st, err = copyFile(c, temp, old); err != nil {
		return nil, err
	}
	err = s.syncAfter(c, filepath.Dir(path), func() error {
		return s.lock.with(c, func() error { return renameOver(c, temp, path, st) })
	})
	if absent(err) {
		return nil, s.missing(c)
	}
	if err != nil {
		return nil, err
	}
	return temp.Stat()
}

// renameOver renames if the file at path is still the copied one; the caller holds the
// lock.
func renameOver(c *call, temp *os.File, path string, was fs.FileInfo) error {
	return c.do("rename", path, func() error {
		there, err := os.Stat(path)
		if err != nil {
			return err
		}
		if !os.SameFile(there, was) {
			return errReplaced
		}
		return os.Rename(temp.Name(), path)
	})
}

// copyFile copies the bytes and attributes of old to temp, and syncs it. It returns the
// description of old.
func copyFile(c *call, temp, old *os.File) (fs.FileInfo, error) {
	st, err := old.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, objstore.ErrNotExist
	}
	n, err := io.Copy(&stepWriter{c, temp}, io.NewSectionReader(old, 0, st.Size()))
	if err == nil && n != st.Size() {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	err = c.do("attributes", temp.Name(), func() error {
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			// Only root can. Other users write their own files, and could not have kept the
			// owner by a put either.
			_ = temp.Chown(int(sys.Uid), int(sys.Gid))
		}
		return errors.Join(temp.Chmod(st.Mode().Perm()), setTime(temp.Name(), st.ModTime()))
	})
	if err != nil {
		return nil, err
	}
	return st, c.do("fsync", temp.Name(), temp.Sync)
}
