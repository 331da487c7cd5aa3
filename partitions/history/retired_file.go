package history

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// RetiredFile is a list of retired notes that is being made, in a temporary file.
type RetiredFile struct {
	w    *RetiredWriter
	file *os.File
}

// NewRetiredFile begins a list. lost is that of the former list. The caller closes it.
func NewRetiredFile(lost time.Time) (*RetiredFile, error) {
	f, err := os.CreateTemp("", "backupd-retired-")
	if err != nil {
		return nil, err
	}
	l := &RetiredFile{file: f}
	if err = os.Remove(f.Name()); err == nil {
		l.w, err = NewRetiredWriter(f, lost)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// Add adds a line, unless it has no time: then nothing is known about the pack any more. Calls are in the order of the
// packs.
func (l *RetiredFile) Add(n RetiredNote) error {
	if n == (RetiredNote{Pack: n.Pack}) {
		return nil
	}
	return l.w.Add(n)
}

// Body ends the list and returns its bytes, until Close.
func (l *RetiredFile) Body() (objstore.Body, error) {
	if err := l.w.Close(); err != nil {
		return nil, err
	}
	end, err := l.file.Seek(0, io.SeekEnd)
	return io.NewSectionReader(l.file, 0, end), err
}

// Close removes the file.
func (l *RetiredFile) Close() error { return l.file.Close() }
