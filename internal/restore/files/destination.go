package files

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"syscall"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
)

// Options of a destination.
type Options struct {
	Kind          string // maildir, mbox, eml, tar
	Path          string
	DryRun        bool
	Many          bool // mbox: write a directory even for one mailbox
	Lossy         bool // data that this kind of file cannot hold is not a problem
	Verbose       int
	DefaultDomain string
	DeletedPrefix string
	AdminForm     cyrus.AdminForm // of names in folders.ndjson
}

// Destination writes into files.
type Destination struct {
	opt     Options
	src     *restore.Source
	rep     *restore.Report
	claimed map[string]string // mailbox names by path
}

// New returns a destination for messages of src.
func New(src *restore.Source, rep *restore.Report, o Options) *Destination {
	return &Destination{o, src, rep, map[string]string{}}
}

// sink is the part that differs between the kinds of files.
type sink interface {
	// folder begins a mailbox. have counts the messages that it has already, by GUID; nil if
	// that is unknown until all messages are written.
	folder(*mailbox) (have map[cyrus.GUID]int, err error)
	// messages writes a batch, and calls done for each message that was written, from any
	// goroutine. A message that alone cannot be written gets its err; any other error is
	// returned.
	messages(batch []*delivery, done func(*delivery)) error
	endFolder() error
	drop() // gives up the current mailbox after an error
	// account writes the account data, and returns an error for each file that failed.
	account(*restore.Account) []error
	finish() error // syncs everything to disk
	abandon()      // gives up after an error
}

// Restore writes the folders and the account data.
func (d *Destination) Restore(ctx context.Context, folders []*restore.Folder, account *restore.Account) error {
	if d.opt.DryRun {
		return d.dry(folders)
	}
	s, err := d.sink(len(folders))
	if err != nil {
		return explain(err)
	}
	err = d.all(ctx, s, folders, account)
	if err == nil {
		err = s.finish()
	}
	if err != nil {
		s.abandon()
	}
	return explain(err)
}

func explain(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("the disk is full: free space and run the restore again: %w", err)
	}
	return err
}

func (d *Destination) sink(folders int) (sink, error) {
	switch d.opt.Kind {
	case "maildir":
		return newMaildir(&d.opt, d.rep)
	case "mbox":
		return newMboxes(&d.opt, d.rep, d.opt.Many || folders > 1)
	case "eml":
		return newTree(d.opt.Path)
	case "tar":
		return newTar(d.opt.Path, d.rep)
	}
	return nil, fmt.Errorf("unknown kind of files %q", d.opt.Kind)
}

// ending is an error that stops the restore of all further folders.
type ending struct{ error }

func (e *ending) Unwrap() error { return e.error }

// ends reports whether an error affects more than one folder.
func ends(err error) bool {
	if e := (*ending)(nil); errors.As(err, &e) {
		return true
	}
	return slices.ContainsFunc([]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, context.Canceled, context.DeadlineExceeded},
		func(all error) bool { return errors.Is(err, all) })
}

func (d *Destination) all(ctx context.Context, s sink, folders []*restore.Folder, account *restore.Account) error {
	for _, f := range folders {
		err := d.one(ctx, s, f)
		if err != nil {
			s.drop()
			err = fmt.Errorf("%s: %w", f.Name, err)
		}
		switch {
		case err == nil:
			d.rep.Folder()
		case ends(err):
			return err
		default:
			d.rep.Fail(err)
		}
	}
	if account == nil {
		return nil
	}
	for _, err := range s.account(account) {
		if ends(err) {
			return err
		}
		d.rep.Fail(err)
	}
	return nil
}

// lacking yields the messages that are missing, taking the number of copies into account.
func (d *Destination) lacking(refs []restore.Ref, have map[cyrus.GUID]int) iter.Seq2[*restore.Message, error] {
	return func(yield func(*restore.Message, error) bool) {
		for _, ref := range refs {
			m, err := d.src.Message(ref)
			if err != nil {
				yield(nil, &ending{err})
				return
			}
			if have[m.GUID] > 0 {
				have[m.GUID]--
				d.rep.There(1, int64(m.Size))
				continue
			}
			if !yield(m, nil) {
				return
			}
		}
	}
}

func (d *Destination) one(ctx context.Context, s sink, f *restore.Folder) error {
	before := d.rep.Sums()
	m := d.mailbox(f)
	if err := d.claim(m, f.Name); err != nil {
		return err
	}
	have, err := s.folder(m)
	if err != nil {
		return err
	}
	var unreadable error
	err = d.write(ctx, s, f, func(yield func(*restore.Message) bool) {
		for m, err := range d.lacking(f.Messages, have) {
			if unreadable = err; err != nil || !yield(m) {
				return
			}
		}
	})
	if err = cmp.Or(err, unreadable); err != nil {
		return err
	}
	if err := s.endFolder(); err != nil {
		return err
	}
	after := d.rep.Sums()
	d.rep.Say("%s: %s written, %d already present", f.Name, english.Plural(after.Added-before.Added, "message", ""), after.There-before.There)
	return nil
}
