package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dirMode  = 0o700 // it is mail
	fileMode = 0o600
)

// write makes a file with a time. It is on disk after syncAll only.
func write(name string, r io.Reader, when time.Time) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil && !when.IsZero() {
		err = os.Chtimes(name, when, when)
	}
	return err
}

// syncAll brings a tree and its directories to disk: one call for the file system
// instead of one for each of many thousand files.
func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = unix.Syncfs(int(f.Fd()))
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// ErrExists: another file is where one is to be written.
var ErrExists = errors.New("it exists and is another one; remove it or name another place")

// partial is a file that takes its place when it is complete.
type partial struct {
	*os.File
	to string
}

func newPartial(to string) (*partial, error) {
	if err := os.MkdirAll(filepath.Dir(to), dirMode); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(to+".partial", os.O_RDWR|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return nil, err
	}
	return &partial{f, to}, nil
}

// commit gives the file its name. If the very same is there already, that stays.
func (p *partial) commit() error {
	err := p.Sync()
	var same bool
	if err == nil {
		same, err = p.same()
	}
	if closed := p.Close(); err == nil {
		err = closed
	}
	if err != nil || same {
		return errors.Join(err, os.Remove(p.Name()))
	}
	// Link, unlike rename, takes nobody's place.
	if err := os.Link(p.Name(), p.to); err != nil {
		return err
	}
	if err := os.Remove(p.Name()); err != nil {
		return err
	}
	return syncAll(filepath.Dir(p.to))
}

func (p *partial) same() (bool, error) {
	old, err := os.Open(p.to)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer old.Close()
	if _, err := p.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errA := io.ReadFull(p, a)
		m, errB := io.ReadFull(old, b)
		if !bytes.Equal(a[:n], b[:m]) {
			return false, fmt.Errorf("%s: %w", p.to, ErrExists)
		}
		if errA != nil || errB != nil {
			return true, nil
		}
	}
}

// abandon removes what was written.
func (p *partial) abandon() {
	_ = p.Close()
	_ = os.Remove(p.Name())
}
