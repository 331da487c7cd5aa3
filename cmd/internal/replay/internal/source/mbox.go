package source

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// section is a message within an mbox, without its From_ line and its final empty line.
type section struct {
	off, size int64
	date      int64
}

// readMbox reads an mboxrd file: a line with "From " starts a message, a line with ">From " is a
// quoted line.
func readMbox(path string, verbatim bool) (folders []Folder, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	sections, err := split(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f := Folder{Open: func(i int) (io.ReadCloser, error) {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		s := sections[i]
		w := newWireReader(io.NewSectionReader(file, s.off, s.size))
		w.unquote, w.verbatim = true, verbatim
		return &body{Reader: w, Closer: file}, nil
	}}
	for i, s := range sections {
		m, err := measure(func() (io.ReadCloser, error) { return f.Open(i) })
		if err != nil {
			return nil, fmt.Errorf("%s: message %d: %w", path, i+1, err)
		}
		m.Date = s.date
		f.Messages = append(f.Messages, m)
	}
	if len(f.Messages) == 0 {
		return nil, nil
	}
	return []Folder{f}, nil
}

var errNoMbox = errors.New("not an mbox: the file does not begin with a From_ line")

func split(r io.Reader) ([]section, error) {
	var out []section
	br := bufio.NewReaderSize(r, 64<<10)
	var off, blank int64 // blank: length of the empty line just read
	start := true
	for {
		line, err := br.ReadSlice('\n')
		if start && bytes.HasPrefix(line, []byte("From ")) {
			if n := len(out); n > 0 {
				out[n-1].size -= blank
			}
			out = append(out, section{off: off + int64(len(line)), date: fromDate(line)})
		} else if len(line) > 0 {
			if len(out) == 0 {
				return nil, errNoMbox
			}
			out[len(out)-1].size += int64(len(line))
		}
		if len(line) > 0 {
			blank = 0
		}
		if start && len(line) > 0 && len(bytes.TrimRight(line, "\r\n")) == 0 {
			blank = int64(len(line))
		}
		off += int64(len(line))
		start = err == nil
		switch {
		case err == nil || errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			if n := len(out); n > 0 && blank > 0 {
				out[n-1].size -= blank
			}
			return out, nil
		default:
			return nil, err
		}
	}
}

// fromDate reads the date of "From sender Mon Jan  2 15:04:05 2006".
func fromDate(line []byte) int64 {
	words := bytes.Fields(line)
	if len(words) < 7 {
		return fallbackDate
	}
	t, err := time.Parse("Mon Jan 2 15:04:05 2006", string(bytes.Join(words[2:7], []byte{' '})))
	if err != nil || t.Unix() < 0 {
		return fallbackDate
	}
	return t.Unix()
}

// fallbackDate is the date of messages without one. Any fixed date works.
const fallbackDate = 1700000000
