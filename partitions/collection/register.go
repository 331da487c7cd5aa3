package collection

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// The register has the backups below backups/ that passes have counted (docs/format.md 7). The next pass must find each of
// them, or what has become of it. Numbers are not enough: a backup that appears and is set aside between two passes would
// hide a missing one.

// RegisterKey is the key of the register.
const RegisterKey = "collection.backups.zst"

const registerVersion = 1

// registerHeader is the first line.
type registerHeader struct {
	Version int       `json:"version"`
	Time    time.Time `json:"time"`            // store time when the pass began
	Totals  time.Time `json:"totals,omitzero"` // it misses every backup that these totals have counted
	Backups int       `json:"backups"`         // lines that follow
}

// registered is a line: a backup.
type registered struct {
	Backup string    `json:"backup"`           // path below backups/
	ID     string    `json:"id,omitempty"`     // in backup.json; "": it could not be read
	Info   version   `json:"info,omitzero"`    // of backup.json; zero: there is none
	Commit uint64    `json:"commit,omitempty"` // highest number of a single commit
	Newest version   `json:"newest,omitzero"`  // of that commit
	Random string    `json:"random,omitempty"` // in its header; "": it could not be read
	Time   time.Time `json:"time,omitzero"`    // when the last pass began that has found it; zero = in the header
	Missed bool      `json:"missed,omitempty"` // a later pass has not found it
}

func (r *registered) prefix() string { return backupPrefix + r.Backup + "/" }

// missed returns the line for the register of a pass that has not found the backup.
func (r *registered) missed() *registered {
	line := *r
	line.Missed = true
	return &line
}

// maxRegistered is more than a line has.
const maxRegistered = 64 << 10

var errRegister = errors.New("the list of backups that the last collection has found is missing or damaged, so that nobody knows whether one is missing now")

// registerReader reads the register in the order of the prefixes. The nil *registerReader has none.
type registerReader struct {
	*linesReader
	registerHeader
	next registered
	n    int   // lines that were read
	err  error // that has ended it
	drop func()
}

// openRegister opens the register; nil = there is none. It reads all of it: the pass takes hours, and another one may replace
// the object meanwhile. The error is errRegister if it is damaged.
func openRegister(ctx context.Context, s objstore.Store) (*registerReader, error) {
	body, _, drop, err := repository.ReadWhole(ctx, s, RegisterKey)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err = checkRegister(body); err == nil {
		_, err = body.Seek(0, io.SeekStart)
	}
	var r *registerReader
	if err == nil {
		r, err = newRegisterReader(body)
	}
	if err != nil {
		drop()
		return nil, err
	}
	r.drop = drop
	return r, nil
}

// checkRegister reads a register to its end.
func checkRegister(body io.Reader) error {
	r, err := newRegisterReader(body)
	if err != nil {
		return err
	}
	for !r.end {
		r.advance()
	}
	return errors.Join(r.err, r.close())
}

func newRegisterReader(body io.Reader) (*registerReader, error) {
	lines, err := newLinesReader(io.NopCloser(body), maxRegistered, errRegister)
	if err != nil {
		return nil, err
	}
	r := &registerReader{linesReader: lines, drop: func() {}}
	if err = r.header(); err == nil {
		r.advance()
		err = r.err
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// header reads the first line. A newer version may have other keys.
func (r *registerReader) header() error {
	var any map[string]any
	if err := r.line(&any); err != nil {
		return err
	}
	v, ok := any["version"].(float64)
	switch {
	case r.end, !ok:
		return errRegister
	case v != registerVersion:
		return fmt.Errorf("%s has version %v: %w", RegisterKey, v, repository.ErrVersion)
	}
	return r.decode(&r.registerHeader)
}

// advance reads the next line. After an error, the register ends.
func (r *registerReader) advance() {
	was := r.next
	r.next = registered{}
	r.err = r.line(&r.next)
	switch {
	case r.err != nil:
	case r.end && r.n != r.Backups:
		r.err = fmt.Errorf("%w: it has %d backups of %d", errRegister, r.n, r.Backups)
	case !r.end && (r.next.Backup == "" || was.Backup != "" && r.next.prefix() <= was.prefix()):
		r.err = fmt.Errorf("%w: %q is not in order", errRegister, r.next.Backup)
	}
	if r.end = r.end || r.err != nil; !r.end {
		r.n++
	}
	if r.next.Time.IsZero() {
		r.next.Time = r.registerHeader.Time
	}
}

// before returns the next line about a backup before a prefix, or nil.
func (r *registerReader) before(prefix string) *registered {
	if r == nil || r.end || r.next.prefix() >= prefix {
		return nil
	}
	line := r.next
	r.advance()
	return &line
}

// of returns the line about the backup with a prefix, or nil.
func (r *registerReader) of(prefix string) *registered {
	if r == nil || r.end || r.next.prefix() != prefix {
		return nil
	}
	line := r.next
	r.advance()
	return &line
}

// failure returns the error that has ended the register.
func (r *registerReader) failure() error {
	if r == nil {
		return nil
	}
	return r.err
}

// registerWriter writes the register of this pass.
type registerWriter struct {
	*linesWriter
	n int
}

func newRegisterWriter() (*registerWriter, error) {
	w, err := newLinesWriter()
	if err != nil {
		return nil, err
	}
	return &registerWriter{w, 0}, nil
}

func (w *registerWriter) add(line *registered) error {
	w.n++
	return w.linesWriter.add(line)
}

// put puts the register. The header is a frame by itself, because the number of backups is known at the end.
func (w *registerWriter) put(ctx context.Context, s objstore.Store, began, totals time.Time) (err error) {
	whole, err := newLinesWriter(registerHeader{registerVersion, began.UTC(), totals.UTC(), w.n})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, whole.close()) }()
	lines, err := w.content()
	if err != nil {
		return err
	}
	if err := whole.finish(); err != nil {
		return err
	}
	if _, err := io.Copy(whole.file, lines); err != nil {
		return err
	}
	return whole.put(ctx, s, RegisterKey)
}

// openRegister opens the register of the last pass, and begins that of this one. A damaged one is not replaced.
func (p *pass) openRegister(ctx context.Context) (err error) {
	if p.last != nil { // otherwise a person has confirmed that no backup is missing
		p.register, err = openRegister(ctx, p.store)
	}
	if err == nil && p.register == nil && p.last != nil && p.last.Listed {
		err = errRegister
	}
	if errors.Is(err, errRegister) {
		if p.opt.AcceptMissing[RegisterKey] {
			p.out.Accepted, err = append(p.out.Accepted, RegisterKey), nil
		} else {
			p.out.block(RegisterKey, fmt.Errorf("%w. If none is, run ctl_backups compact -A --accept-missing %s:%s", err, p.name, RegisterKey))
			return nil
		}
	}
	if err == nil && !p.opt.DryRun {
		p.present, err = newRegisterWriter()
	}
	return err
}

func (p *pass) closeRegister() (err error) {
	if p.register != nil {
		err = p.register.close()
		p.register.drop()
	}
	if p.present != nil {
		err = errors.Join(err, p.present.close())
	}
	return err
}

// keepRegister puts the register of a pass that was blocked. It has what the last one had of backups that were not found, so
// that the next pass misses them, too, and knows all others.
func (p *pass) keepRegister(ctx context.Context) error {
	if p.present == nil {
		return nil
	}
	var totals time.Time
	if p.register != nil {
		totals = p.register.Totals
	}
	return p.present.put(ctx, p.store, p.began, totals)
}

// counts reports whether numbers of backups have to be compared: the last totals are those of a program that has put no register.
func (p *pass) counts() bool {
	return p.last != nil && (p.register == nil || p.register.Totals.Before(p.last.Time))
}
