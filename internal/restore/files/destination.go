package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"

	"backupd/internal/restore"
	"backupd/replication/cyrus"
)

// Options of a destination of files.
type Options struct {
	Kind          string // maildir, mbox, eml, tar
	Path          string
	DryRun        bool
	Verbose       int
	DefaultDomain string
	DeletedPrefix string
}

// Destination is a place for files.
type Destination struct {
	opt Options
	src *restore.Source
	rep *restore.Report
}

// New returns a destination for what src holds.
func New(src *restore.Source, rep *restore.Report, o Options) *Destination {
	return &Destination{o, src, rep}
}

// mailbox is a mailbox's name below the INBOX, in components; the INBOX has none.
type mailbox struct {
	internal []string // as Cyrus has them
	parts    []string // as people write them
}

// sink is what the kinds of files have of their own.
type sink interface {
	// folder begins a mailbox; nil if it holds nothing yet. have counts its messages by GUID.
	folder(name mailbox) (have map[cyrus.GUID]int, err error)
	message(m *restore.Message, body io.Reader, size int64) error
	endFolder() error
	account(a *restore.Account) error
	finish() error // everything is on disk
	abandon()      // after an error
}

// Restore writes the folders, and what belongs to none.
func (d *Destination) Restore(ctx context.Context, folders []*restore.Folder, account *restore.Account) error {
	if d.opt.DryRun {
		return d.dry(folders)
	}
	s, err := d.sink(len(folders))
	if err != nil {
		return err
	}
	err = d.all(ctx, s, folders, account)
	if err == nil {
		err = s.finish()
	}
	if err != nil {
		s.abandon()
		if errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("the disk is full; make room and run the restore again: %w", err)
		}
		return err
	}
	return nil
}

func (d *Destination) sink(folders int) (sink, error) {
	switch d.opt.Kind {
	case "maildir":
		return newMaildir(&d.opt)
	case "mbox":
		return newMboxes(d.opt.Path, folders > 1)
	case "eml":
		return newTree(d.opt.Path)
	case "tar":
		return newTar(d.opt.Path)
	}
	return nil, fmt.Errorf("%q is no kind of files", d.opt.Kind)
}

func (d *Destination) all(ctx context.Context, s sink, folders []*restore.Folder, account *restore.Account) error {
	for _, f := range folders {
		if err := d.one(ctx, s, f); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		d.rep.Folder()
	}
	if account == nil {
		return nil
	}
	return s.account(account)
}

func (d *Destination) mailbox(f *restore.Folder) mailbox {
	return mailbox{
		internal: restore.InternalPath(f.Name, d.opt.DefaultDomain, d.opt.DeletedPrefix),
		parts:    restore.Path(f.Name, d.opt.DefaultDomain, d.opt.DeletedPrefix),
	}
}

// lacking are the messages that are not there already, as often as they are there.
func (d *Destination) lacking(refs []restore.Ref, have map[cyrus.GUID]int) (msgs []*restore.Message, guids []cyrus.GUID, err error) {
	for _, ref := range refs {
		m, err := d.src.Message(ref)
		if err != nil {
			return nil, nil, err
		}
		if have[m.GUID] > 0 {
			have[m.GUID]--
			d.rep.There(1, int64(m.Size))
			continue
		}
		msgs, guids = append(msgs, m), append(guids, m.GUID)
	}
	return msgs, guids, nil
}

// perRead is how many messages are looked up before they are read.
const perRead = 1024

func (d *Destination) one(ctx context.Context, s sink, f *restore.Folder) error {
	have, err := s.folder(d.mailbox(f))
	if err != nil {
		return err
	}
	added, there := 0, 0
	for refs := range slices.Chunk(f.Messages, perRead) {
		msgs, guids, err := d.lacking(refs, have)
		if err != nil {
			return err
		}
		there += len(refs) - len(msgs)
		n, err := d.write(ctx, s, f, msgs, guids)
		added += n
		if err != nil {
			return err
		}
	}
	if err := s.endFolder(); err != nil {
		return err
	}
	d.rep.Say("%s: %d messages written, %d are there", f.Name, added, there)
	return nil
}

func (d *Destination) write(ctx context.Context, s sink, f *restore.Folder, msgs []*restore.Message, guids []cyrus.GUID) (n int, err error) {
	i := 0
	for l := range d.src.LoadAll(ctx, guids) {
		m := msgs[i]
		i++
		if l.Err != nil {
			if l.Ends() {
				return n, fmt.Errorf("reading the backup: %w", l.Err)
			}
			d.rep.Fail(fmt.Errorf("%s: uid %d: %w", f.Name, m.UID, l.Err))
			continue
		}
		err := s.message(m, l.Body, l.Body.Size)
		if closed := l.Body.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return n, err
		}
		n++
		d.rep.Added(1, l.Body.Size)
		if d.opt.Verbose > 1 {
			d.rep.Say("  + uid %d %s", m.UID, m.GUID)
		}
	}
	return n, ctx.Err()
}
