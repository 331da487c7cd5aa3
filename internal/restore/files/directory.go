package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	dirMode  = 0o700 // because the files are mail
	fileMode = 0o600
)

var (
	// ErrExists means that a different file is in the way.
	ErrExists = errors.New("a different file exists; remove it or restore to another place")
	// ErrLink means that a symbolic link is in the way. Its owner could redirect our writes.
	ErrLink = errors.New("is a symbolic link, which restore does not follow below its destination; remove it or restore to another place")
	// ErrBusy means that another restore is writing to the same directory.
	ErrBusy = errors.New("another restore is writing there; wait until it ends")
)

// base is the directory of a destination. Paths in it are opened level by level, so that no
// symbolic link below it is followed. The base itself may be a link, because the administrator
// named it.
type base struct {
	*os.Root
	lock *os.File
}

// openBase creates the directory if necessary and locks it against other restores.
func openBase(path string) (*base, error) {
	if err := os.MkdirAll(path, dirMode); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	lock, err := root.Open(".")
	if err == nil {
		err = hold(lock)
	}
	if err == nil {
		err = sweep(root, ".", "")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(err, root.Close()))
	}
	return &base{root, lock}, nil
}

// close unlocks explicitly, because a process that is being forked may share the lock.
func (b *base) close() error {
	_ = unix.Flock(int(b.lock.Fd()), unix.LOCK_UN)
	return errors.Join(b.lock.Close(), b.Root.Close())
}

// hold locks a file or directory until this process ends. It does nothing on file systems
// without locks.
func hold(f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return ErrBusy
	}
	return nil
}

// descend opens a directory some levels below another. Without make it returns nil if the
// directory does not exist.
func descend(from *os.Root, levels []string, make bool) (*os.Root, error) {
	at, err := from.OpenRoot(".")
	for _, name := range levels {
		if err != nil {
			return nil, err
		}
		var next *os.Root
		next, err = enter(at, name, make)
		if closed := at.Close(); err == nil && closed != nil {
			return nil, errors.Join(closed, next.Close())
		}
		if !make && errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		at = next
	}
	return at, err
}

// enter opens a subdirectory, which must not be a symbolic link.
func enter(at *os.Root, name string, make bool) (*os.Root, error) {
	if make {
		if err := at.Mkdir(name, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	was, err := at.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !was.IsDir() {
		return nil, inTheWay(name, was)
	}
	next, err := at.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	if err := unchanged(was, name, func() (fs.FileInfo, error) { return next.Stat(".") }); err != nil {
		return nil, errors.Join(err, next.Close())
	}
	return next, nil
}

// openRegular opens an existing regular file. Links and special files are errors.
func openRegular(at *os.Root, name string, flag int) (*os.File, error) {
	was, err := at.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !was.Mode().IsRegular() {
		return nil, inTheWay(name, was)
	}
	f, err := at.OpenFile(name, flag|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := unchanged(was, name, f.Stat); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// unchanged checks that the opened file is still the examined one.
func unchanged(was fs.FileInfo, name string, stat func() (fs.FileInfo, error)) error {
	is, err := stat()
	if err == nil && !os.SameFile(was, is) {
		err = fmt.Errorf("%s: %w", name, ErrLink)
	}
	return err
}

func inTheWay(name string, info fs.FileInfo) error {
	if info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s: %w", name, ErrLink)
	}
	return fmt.Errorf("%s: %w", name, ErrExists)
}

// list reads a subdirectory; it returns nothing if there is none.
func list(at *os.Root, name string) ([]os.DirEntry, error) {
	dir, err := descend(at, []string{name}, false)
	if err != nil || dir == nil {
		return nil, err
	}
	defer dir.Close()
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

// syncAll syncs a whole tree: one call for the file system instead of one for each of many
// thousand files.
func syncAll(f *os.File) error {
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", f.Name(), err)
	}
	return nil
}

// syncDir syncs the names in a directory.
func syncDir(at *os.Root) error {
	f, err := at.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
