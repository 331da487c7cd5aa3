package doctor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Access that a check needs.
const (
	read  = unix.R_OK
	write = unix.W_OK
	enter = unix.X_OK
)

// accessible returns an error if this process may not use a file. It opens nothing.
func accessible(path string, mode uint32) error {
	if err := unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS); err != nil {
		return &os.PathError{Op: "access", Path: path, Err: err}
	}
	return nil
}

// creatable returns an error if the file or directory cannot be made: the nearest directory above it
// that exists has to be writable.
func creatable(path string) error {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		switch {
		case err == nil && !info.IsDir():
			return &os.PathError{Op: "mkdir", Path: dir, Err: unix.ENOTDIR}
		case err == nil:
			return accessible(dir, write|enter)
		case !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir):
			return err
		}
	}
}

// usable checks a file or directory that the daemon reads and writes. A missing one must be
// creatable.
func usable(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return creatable(path)
	case err != nil:
		return err
	case info.IsDir():
		return accessible(path, read|write|enter)
	case info.Mode()&fs.ModeSocket != 0:
		return accessible(path, write)
	}
	return accessible(path, read|write)
}
