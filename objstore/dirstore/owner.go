package dirstore

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// owner is whom new files and directories are given to: the owner of the root, if this process runs as
// root and he is somebody else. A tool that root runs would otherwise leave objects, directories and locks
// that the server's user cannot use. The zero value gives nothing away.
//
// Only what this process has just created is given away, by its descriptor: the owner of the root may
// replace a path by a link to somebody else's file at any time.
type owner struct{ uid, gid int }

// ownerOf returns the owner of a directory, for a process with the effective user id euid.
func ownerOf(dir fs.FileInfo, euid int) owner {
	st, ok := dir.Sys().(*syscall.Stat_t)
	if !ok || euid != 0 || st.Uid == 0 {
		return owner{}
	}
	return owner{int(st.Uid), int(st.Gid)}
}

// give gives an open file to the owner of the root.
func (s *Store) give(c *call, f *os.File) error {
	if s.owner.uid == 0 {
		return nil
	}
	return c.do("chown", f.Name(), func() error { return f.Chown(s.owner.uid, s.owner.gid) })
}

// mkdir makes a directory (0700) for the owner of the root. If it cannot be given to him, it is removed.
func (s *Store) mkdir(c *call, path string) error {
	if err := c.do("mkdir", path, func() error { return os.Mkdir(path, 0o700) }); err != nil || s.owner.uid == 0 {
		return err
	}
	err := c.do("chown", path, func() error {
		dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		return errors.Join(dir.Chown(s.owner.uid, s.owner.gid), dir.Close())
	})
	if err != nil {
		_ = c.always("rmdir", path, func() error { return unix.Rmdir(path) })
	}
	return err
}

// openOrCreate opens a file for writing. One that it creates (0600) belongs to the owner of the root.
func (s *Store) openOrCreate(c *call, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) { // by another process meanwhile
		return os.OpenFile(path, os.O_RDWR, 0)
	}
	if err != nil {
		return nil, err
	}
	if err := s.give(c, f); err != nil {
		return nil, errors.Join(err, os.Remove(path), f.Close())
	}
	return f, nil
}
