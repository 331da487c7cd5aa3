package z

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// grow sets the size of a file and gives what it grows by blocks of the disk: a page of a
// sparse file for which there are none when it is written to is a SIGBUS. Where the file
// system cannot do that the file is sparse.
func grow(fd *os.File, from, to int64) error {
	if to > from {
		err := unix.Fallocate(int(fd.Fd()), 0, from, to-from)
		for errors.Is(err, unix.EINTR) {
			err = unix.Fallocate(int(fd.Fd()), 0, from, to-from)
		}
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
			return &os.PathError{Op: "allocate", Path: fd.Name(), Err: err}
		}
	}
	return fd.Truncate(to)
}
