package files

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/internal/restore"
)

// newFiles writes many small files from several goroutines: each in one directory, and when it
// is complete under its name in another or the same one. Both directories stay open, so that
// a file takes five system calls. The first directory is locked, because other restores remove
// partial files from directories that are not.
type newFiles struct {
	at       *os.Root // above both directories
	from, to string   // their names in at
	dirs     [2]*os.File
	run      uint32
	count    atomic.Uint32
}

func openNewFiles(at *os.Root, from, to string) (*newFiles, error) {
	var id [4]byte
	_, _ = rand.Read(id[:]) // never fails
	w := &newFiles{at: at, from: from, to: to, run: binary.BigEndian.Uint32(id[:])}
	for i, name := range []string{from, to} {
		var err error
		if w.dirs[i], err = openDir(at, name); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	if err := hold(w.dirs[0]); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// openDir opens a directory, which must not be a symbolic link.
func openDir(at *os.Root, name string) (*os.File, error) {
	if name == "." {
		return at.Open(".")
	}
	dir, err := enter(at, name, false)
	if err != nil {
		return nil, err
	}
	f, err := dir.Open(".")
	if closed := dir.Close(); err == nil && closed != nil {
		return nil, errors.Join(closed, f.Close())
	}
	return f, err
}

// close unlocks explicitly, as base.close does.
func (w *newFiles) close() error {
	if w == nil {
		return nil
	}
	var err error
	for i, d := range w.dirs {
		if d == nil {
			continue
		}
		if i == 0 {
			_ = unix.Flock(int(d.Fd()), unix.LOCK_UN)
		}
		err = errors.Join(err, d.Close())
	}
	w.dirs = [2]*os.File{}
	return err
}

// write writes a file and sets its time. An existing file stays: see partial.commit.
func (w *newFiles) write(name string, body *restore.Body, t time.Time) error {
	part := fmt.Sprintf("%s.%08x%08x.partial", name, w.run, w.count.Add(1))
	from, to := int(w.dirs[0].Fd()), int(w.dirs[1].Fd())
	err := fill(from, part, body, t)
	if err == nil {
		err = unix.Renameat2(from, part, to, name, unix.RENAME_NOREPLACE)
		switch {
		case err == nil:
			return nil
		case isOneOf(err, unix.EEXIST, unix.EINVAL, unix.ENOSYS, unix.ENOTSUP, unix.EPERM):
			return w.commit(part, name) // there is a file, or the file system cannot tell
		}
		err = &os.LinkError{Op: "rename", Old: part, New: name, Err: err}
	}
	_ = unix.Unlinkat(from, part, 0)
	return err
}

func isOneOf(err error, list ...unix.Errno) bool {
	for _, e := range list {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// commit gives a complete file its name in the careful way.
func (w *newFiles) commit(part, name string) error {
	at := path.Join(w.from, part)
	f, err := w.at.OpenFile(at, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = (&partial{f, w.at, at, path.Join(w.to, name)}).commit()
	return err
}

// fill creates a file with its bytes and time.
func fill(dir int, name string, body *restore.Body, t time.Time) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, fileMode)
	if err != nil {
		return &os.PathError{Op: "create", Path: name, Err: err}
	}
	_, err = body.WriteTo(descriptor(fd))
	if closed := unix.Close(fd); err == nil {
		err = closed
	}
	if err != nil {
		return &os.PathError{Op: "write", Path: name, Err: err}
	}
	ts := unix.NsecToTimespec(t.UnixNano())
	if err := unix.UtimesNanoAt(dir, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "set the time of", Path: name, Err: err}
	}
	return nil
}

// descriptor is a file without the cost of an os.File.
type descriptor int

func (d descriptor) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Write(int(d), b[done:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}
