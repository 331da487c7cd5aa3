package files

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// lines is a file of ours that has one JSON object a line, to which lines are added. A
// line is in it before that of which it speaks.
type lines struct {
	at   *os.Root
	name string
	key  string // what each line begins with
	f    *os.File
}

const longestLine = 1 << 20

// openLines reads the file, if there is one, and calls each with its lines. It is made
// when a line is added.
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
	return l, l.heal(end)
}

// readLines calls each with the lines of a file of ours, if there is one.
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

// read returns where the last whole line ends.
func (l *lines) read(f *os.File, each func(line []byte) error) (end int64, err error) {
	r := bufio.NewReaderSize(f, longestLine)
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			// A power cut can leave a part of our last line, and zeros.
			if rest := bytes.TrimRight(line, "\x00"); len(rest) > 0 && !bytes.HasPrefix(rest, []byte(l.key)) && !bytes.HasPrefix([]byte(l.key), rest) {
				return 0, l.foreign()
			}
			return end, nil
		case errors.Is(err, bufio.ErrBufferFull):
			return 0, l.foreign()
		case err != nil:
			return 0, err
		}
		if !bytes.HasPrefix(line, []byte(l.key)) || each(line) != nil {
			return 0, l.foreign()
		}
		end += int64(len(line))
	}
}

func (l *lines) foreign() error { return fmt.Errorf("%s: %w", l.name, ErrExists) }

// heal removes the part of a line at the end.
func (l *lines) heal(end int64) error {
	info, err := l.f.Stat()
	if err != nil || info.Size() == end {
		return err
	}
	return l.f.Truncate(end)
}

// single refuses a file that has another name, too: it may be anybody's.
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

// create makes the file if it is not there.
func (l *lines) create() (err error) {
	if l.f == nil {
		l.f, err = l.at.OpenFile(l.name, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, fileMode)
	}
	return err
}

func (l *lines) add(v any) error {
	if err := l.create(); err != nil {
		return err
	}
	return encode(l.f, v)
}

// encode writes a line.
func encode(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // & is in many names
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (l *lines) close() error {
	if l == nil || l.f == nil {
		return nil
	}
	return l.f.Close()
}
