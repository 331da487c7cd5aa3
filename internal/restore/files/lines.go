package files

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/cyrusbackup/backupd/internal/restore/jsonl"
)

// lines is a file of this package with one JSON object per line. A line is written before the
// data that it describes.
type lines struct {
	at   *os.Root
	name string
	key  string // start of each line
	f    *os.File
}

// openLines reads the file, if it exists, and calls each with its lines. Otherwise the file is
// created with the first line that is added.
func openLines(at *os.Root, name, key string, each func(line []byte) error) (*lines, error) {
	l := &lines{at: at, name: name, key: `{"` + key + `":`}
	f, err := openRegular(at, name, os.O_RDWR|os.O_APPEND)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	end, err := l.read(f, each)
	if err == nil {
		err = single(f, name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l.f = f
	return l, l.truncate(end)
}

// readLines calls each with the lines of the file, if it exists.
func readLines(at *os.Root, name, key string, each func(line []byte) error) error {
	f, err := openRegular(at, name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	l := &lines{name: name, key: `{"` + key + `":`}
	_, err = l.read(f, each)
	return errors.Join(err, f.Close())
}

// read returns where the last complete line ends.
func (l *lines) read(f *os.File, each func(line []byte) error) (end int64, err error) {
	end, rest, err := jsonl.Read(f, func(line []byte) error {
		if !bytes.HasPrefix(line, []byte(l.key)) || each(line) != nil {
			return l.foreign()
		}
		return nil
	})
	if errors.Is(err, jsonl.ErrTooLong) {
		err = l.foreign()
	}
	// A power cut can leave the beginning of our last line, and zeros.
	rest = bytes.TrimRight(rest, "\x00")
	if err == nil && len(rest) > 0 && !bytes.HasPrefix(rest, []byte(l.key)) && !bytes.HasPrefix([]byte(l.key), rest) {
		err = l.foreign()
	}
	if err != nil {
		return 0, err
	}
	return end, nil
}

func (l *lines) foreign() error { return fmt.Errorf("%s: %w", l.name, ErrExists) }

// truncate removes an incomplete line at the end.
func (l *lines) truncate(end int64) error {
	info, err := l.f.Stat()
	if err != nil || info.Size() == end {
		return err
	}
	return l.f.Truncate(end)
}

// single refuses a file with more than one link, because it may belong to someone else.
func single(f *os.File, name string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		return fmt.Errorf("%s: %w", name, ErrExists)
	}
	return nil
}

// create creates the file unless it is open.
func (l *lines) create() (err error) {
	if l.f == nil {
		l.f, err = l.at.OpenFile(l.name, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, fileMode)
	}
	return err
}

// addLines appends a line for each element of list, with a single call.
func addLines[T any](l *lines, list []T) error {
	if len(list) == 0 {
		return nil
	}
	if err := l.create(); err != nil {
		return err
	}
	return jsonl.Write(l.f, list...)
}

func (l *lines) close() error {
	if l == nil || l.f == nil {
		return nil
	}
	return l.f.Close()
}
