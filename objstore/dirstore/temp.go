package dirstore

import (
	"fmt"
	"io"
	"os"

	"github.com/cyrusbackup/backupd/objstore"
)

const tempPattern = "put-*"

// createTemp makes the file that will be the object, under a name of its own.
func (s *Store) createTemp(c *call) (temp *os.File, err error) {
	err = c.do("create", s.path(hidden), func() (err error) {
		temp, err = os.CreateTemp(s.path(hidden), tempPattern) // 0600
		return err
	})
	if absent(err) {
		err = s.missing(c)
	}
	return temp, err
}

// closeTemp closes the file, and removes its first name. That this fails is no error of
// a put, whose outcome is decided: sweep finds what stays.
func (s *Store) closeTemp(c *call, temp *os.File, remove bool) error {
	if remove {
		_ = c.always("unlink", temp.Name(), func() error { return os.Remove(temp.Name()) })
	}
	return c.always("close", temp.Name(), temp.Close)
}

// fill copies the body by way of a buffer of its own: a call that was given up must not
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

// stepWriter writes to a file by the call's system calls.
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
