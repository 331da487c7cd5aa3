package dirstore

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cyrusbackup/backupd/objstore"
)

const tempPattern = "put-*"

// createTemp creates the file that will become the object, under a unique name.
func (s *Store) createTemp(c *call) (temp *os.File, err error) {
	err = c.do("create", s.path(hidden), func() (err error) {
		temp, err = os.CreateTemp(s.path(hidden), tempPattern) // 0600
		return err
	})
	if absent(err) {
		err = s.missing(c)
	}
	if err != nil {
		return nil, err
	}
	if err := s.give(c, temp); err != nil {
		return nil, errors.Join(err, s.closeTemp(c, temp, true))
	}
	return temp, nil
}

// closeTemp closes the file and removes its first name. A failure is not an error of the
// put, whose outcome is already decided: sweep removes the file later.
func (s *Store) closeTemp(c *call, temp *os.File, remove bool) error {
	if remove {
		_ = c.always("unlink", temp.Name(), func() error { return os.Remove(temp.Name()) })
	}
	return c.always("close", temp.Name(), temp.Close)
}

// fill copies the body through a private buffer: an abandoned call must not write the later
// contents of the caller's memory.
// write what the caller's memory holds by then.
func fill(c *call, temp *os.File, body objstore.Body) error {
	size := body.Size()
	buf := make([]byte, min(size, readAtMost))
	for off := int64(0); off < size; {
		part := buf[:min(int64(len(buf)), size-off)]
		n, err := c.readBody(func() (int, error) { return body.ReadAt(part, off) })
		if n < len(part) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("body: %w", err)
		}
		if _, err := (stepWriter{c, temp}).Write(part); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// stepWriter writes to a file through the call's system calls.
type stepWriter struct {
	c *call
	f *os.File
}

func (w stepWriter) Write(p []byte) (n int, err error) {
	err = w.c.do("write", w.f.Name(), func() (err error) {
		n, err = w.f.Write(p)
		return err
	})
	return n, err
}
