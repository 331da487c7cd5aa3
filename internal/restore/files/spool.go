package files

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// inSpool is how much of a spool is in memory.
const inSpool = 1 << 20

// spool keeps bytes in memory, and in a temporary file when there are many. The zero value is
// empty.
type spool struct {
	size int64
	last bytes.Buffer // not in file yet
	file *os.File
}

// Write implements io.Writer.
func (s *spool) Write(b []byte) (int, error) {
	n, _ := s.last.Write(b) // never fails
	s.size += int64(n)
	if s.last.Len() < inSpool {
		return n, nil
	}
	if s.file == nil {
		f, err := os.CreateTemp("", "restore-*.ndjson")
		if err != nil {
			return 0, err
		}
		s.file = f
		// Without a name the file disappears when the program ends, however it ends.
		if err := os.Remove(f.Name()); err != nil {
			return 0, err
		}
	}
	_, err := s.last.WriteTo(s.file)
	return n, err
}

// copyTo writes everything to w.
func (s *spool) copyTo(w io.Writer) error {
	if s.file != nil {
		if _, err := s.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(w, s.file); err != nil {
			return err
		}
	}
	_, err := w.Write(s.last.Bytes())
	return err
}

// reset empties the spool.
func (s *spool) reset() (err error) {
	if s.file != nil {
		err = s.file.Truncate(0)
		err = errors.Join(err, s.file.Close())
	}
	s.size, s.file = 0, nil
	s.last.Reset()
	return err
}
