package files

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// partial is a file that gets its final name when it is complete.
type partial struct {
	*os.File
	at   *os.Root
	name string
	to   string
}

// leftover matches a file that a killed run left: the final name, 16 random digits and .partial.
var leftover = regexp.MustCompile(`^(.*)\.[0-9a-f]{16}\.partial$`)

// newPartial creates the file for the final name to. Until then it is in the directory dir.
func newPartial(at *os.Root, dir, to string) (*partial, error) {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	name := path.Join(dir, fmt.Sprintf("%s.%x.partial", path.Base(to), id))
	f, err := at.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	p := &partial{f, at, name, to}
	if err := hold(f); err != nil {
		p.abandon()
		return nil, err
	}
	return p, nil
}

// setTime sets the modification time of the file.
func (p *partial) setTime(t time.Time) error {
	tv := unix.NsecToTimeval(t.UnixNano())
	return unix.Futimes(int(p.Fd()), []unix.Timeval{tv, tv})
}

// placed is how a file got its final name.
type placed int

const (
	fresh    placed = iota // no file had that name
	same                   // an identical file had it
	extended               // the old file is the beginning of the new one
)

// commit gives the file its final name. An existing file stays, unless the new one begins with
// all of it: then an earlier run wrote it before more mail arrived, and replacing it loses nothing.
func (p *partial) commit() (placed, error) {
	how, err := p.place()
	if closed := p.Close(); err == nil {
		err = closed
	}
	if removed := p.at.Remove(p.name); err == nil && !errors.Is(removed, fs.ErrNotExist) {
		err = removed
	}
	return how, err
}

func (p *partial) place() (placed, error) {
	err := p.at.Link(p.name, p.to)                                                                 // unlike rename, link replaces nothing
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) { // vfat has no links
		if _, err = p.at.Lstat(p.to); errors.Is(err, fs.ErrNotExist) {
			return fresh, p.at.Rename(p.name, p.to)
		}
		err = fs.ErrExist
	}
	if !errors.Is(err, fs.ErrExist) {
		return fresh, err
	}
	how, err := p.compare()
	if err == nil && how == extended {
		err = p.at.Rename(p.name, p.to)
	}
	return how, err
}

// compare compares the file with the existing one.
func (p *partial) compare() (placed, error) {
	old, err := openRegular(p.at, p.to, os.O_RDONLY)
	if err != nil {
		return fresh, err
	}
	defer old.Close()
	if _, err := p.Seek(0, io.SeekStart); err != nil {
		return fresh, err
	}
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errOld := io.ReadFull(old, a)
		m, errNew := io.ReadFull(p, b[:n])
		if m < n || !bytes.Equal(a[:n], b[:m]) {
			return fresh, fmt.Errorf("%s: %w", p.to, ErrExists)
		}
		if errNew != nil && errNew != io.EOF {
			return fresh, errNew
		}
		if errOld == nil {
			continue
		}
		if errOld != io.EOF && errOld != io.ErrUnexpectedEOF {
			return fresh, errOld
		}
		if n, err := p.Read(b[:1]); n == 0 {
			return same, ignoreEOF(err)
		}
		return extended, nil
	}
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// abandon removes the incomplete file.
func (p *partial) abandon() {
	_ = p.Close()
	_ = p.at.Remove(p.name)
}

// sweep removes the leftovers of killed runs from a directory. If of is not empty, it removes
// only those with that final name.
func sweep(at *os.Root, dir, of string) error {
	entries, err := list(at, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		m := leftover.FindStringSubmatch(e.Name())
		if m == nil || of != "" && m[1] != of || !e.Type().IsRegular() {
			continue
		}
		if err := removeIdle(at, path.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// removeIdle removes a file unless a process holds it.
func removeIdle(at *os.Root, name string) error {
	f, err := openRegular(at, name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if hold(f) != nil {
		return nil
	}
	return at.Remove(name)
}

// put writes a small file.
func put(at *os.Root, to, text string) error {
	p, err := newPartial(at, path.Dir(to), to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(p, strings.NewReader(text)); err != nil {
		p.abandon()
		return err
	}
	_, err = p.commit()
	return err
}
