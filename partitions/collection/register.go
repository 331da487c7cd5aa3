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

// The register has the backups below backups/ that the last complete pass has counted (docs/format.md 7). The next pass must
// find each of them, or what has become of it. Numbers are not enough: a backup that appears and is set aside between two
// passes would hide a missing one.

// RegisterKey is the key of the register.
const RegisterKey = "collection.backups.zst"

const registerVersion = 1

// registerHeader is the first line.
type registerHeader struct {
	Version int       `json:"version"`
	Time    time.Time `json:"time"`  // store time when the pass began, as in its totals
	Ended   time.Time `json:"ended"` // store time after the count
}

// registered is a line: a backup.
type registered struct {
	Backup string `json:"backup"`           // path below backups/
	ID     string `json:"id,omitempty"`     // in backup.json; "": it could not be read
	Commit uint64 `json:"commit,omitempty"` // highest number of a single commit
	version
}

func (r *registered) prefix() string { return backupPrefix + r.Backup + "/" }

// maxRegistered is more than a line has.
const maxRegistered = 64 << 10

var errRegister = fmt.Errorf("the list of backups that the last collection has found is missing or damaged, so that nobody knows whether one is missing now. If none is, remove %s", ResultKey)

// registerReader reads the register in the order of the prefixes. The nil *registerReader has none.
type registerReader struct {
	*linesReader
	registerHeader
	next registered
	err  error // that has ended it
}

// openRegister opens the register; nil = there is none. The error is errRegister if it is damaged.
func openRegister(ctx context.Context, s objstore.Store) (*registerReader, error) {
	obj, err := s.Get(ctx, RegisterKey, 0, -1)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return newRegisterReader(obj)
}

func newRegisterReader(obj io.ReadCloser) (*registerReader, error) {
	lines, err := newLinesReader(obj, maxRegistered, errRegister)
	if err != nil {
		return nil, err
	}
	r := &registerReader{linesReader: lines}
	err = r.line(&r.registerHeader)
	switch {
	case err != nil:
	case r.end:
		err = errRegister
	case r.Version != registerVersion:
		err = fmt.Errorf("%s has version %d: %w", RegisterKey, r.Version, repository.ErrVersion)
	default:
		r.advance()
		err = r.err
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// advance reads the next line. After an error, the register ends.
func (r *registerReader) advance() {
	was := r.next
	r.next = registered{}
	r.err = r.line(&r.next)
	if r.err == nil && !r.end && (r.next.Backup == "" || was.Backup != "" && r.next.prefix() <= was.prefix()) {
		r.err = fmt.Errorf("%w: %q is not in order", errRegister, r.next.Backup)
	}
	r.end = r.end || r.err != nil
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
type registerWriter struct{ *linesWriter }

func newRegisterWriter() (*registerWriter, error) {
	w, err := newLinesWriter()
	if err != nil {
		return nil, err
	}
	return &registerWriter{w}, nil
}

// put puts the register. The header is a frame by itself, because its times are known at the end.
func (w *registerWriter) put(ctx context.Context, s objstore.Store, began, ended time.Time) (err error) {
	whole, err := newLinesWriter(registerHeader{registerVersion, began.UTC(), ended.UTC()})
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

// openRegister opens the register of the last pass, and begins that of this one.
func (p *pass) openRegister(ctx context.Context) (err error) {
	if !p.opt.DryRun {
		if p.present, err = newRegisterWriter(); err != nil {
			return err
		}
	}
	if p.last == nil { // or a person has confirmed that no backup is missing
		return nil
	}
	p.register, err = openRegister(ctx, p.store)
	if err == nil && p.register == nil && p.last.Listed {
		err = errRegister
	}
	if errors.Is(err, errRegister) && !failed(err) {
		p.out.block(RegisterKey, err)
		err = nil
	}
	return err
}

func (p *pass) closeRegister() (err error) {
	if p.register != nil {
		err = p.register.close()
	}
	if p.present != nil {
		err = errors.Join(err, p.present.close())
	}
	return err
}

// counts reports whether numbers of backups have to be compared: the last pass was that of a program that has put no register.
func (p *pass) counts() bool {
	return p.last != nil && (p.register == nil || p.register.Time.Before(p.last.Time))
}
