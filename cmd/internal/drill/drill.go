// Package drill restores backups into a scratch directory, as restore --to eml:DIR does, reads
// the files, and compares them with the backup and with the mail server's own checksums.
//
// The files are read by code of this package, from what docs/restore.md says about them, so that
// an error of the program that wrote them is found, too.
package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/files"
	"github.com/cyrusbackup/backupd/objstore/rangecache"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// rangesKept limits the cache for blocks of records and for single frames, as in restore.
const rangesKept = 8 << 20

// Options of a drill.
type Options struct {
	Scratch       string // a directory for the files, which are removed at the end
	Now           time.Time
	Clock         func() time.Time // measures the time of the restore
	DefaultDomain string
	DeletedPrefix string
	AdminForm     cyrus.AdminForm
	Problem       func(error)  // is called for each item that was not restored as it should be
	Note          func(string) // is called for a finding that is no failure
}

// Result counts the restored items.
type Result struct {
	AsOf      time.Time // of the restored state
	Mailboxes int
	Messages  int           // in files whose SHA-1, size, date and flags are right
	Bytes     int64         // of these messages
	Took      time.Duration // from the first request to the last file on disk, without the comparison
	Problems  int
}

// Run restores the newest state of a backup, compares it, and removes it. An error means that the
// drill could not be carried out; problems of single items are in Result.Problems.
func Run(ctx context.Context, f *repository.Found, o Options) (out Result, err error) {
	dir, done, err := scratch(o.Scratch)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, done()) }()
	d := &drill{Options: o, dir: dir, out: &out}
	begun := o.Clock()
	end, err := d.load(ctx, f)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, end()) }()
	if err := d.restore(ctx); err != nil {
		return out, err
	}
	out.Took = o.Clock().Sub(begun)
	return out, d.compare(ctx)
}

// drill is the work on one backup.
type drill struct {
	Options
	dir     string
	out     *Result
	src     *restore.Source
	sel     *restore.Selection
	account *restore.Account
	added   int       // messages that the restore has written, as it says
	lines   int       // messages in the directory
	missing []missing // in no line
}

// missing is a message that is not in the directory.
type missing struct {
	mailbox string
	uid     uint32
}

// problem counts and reports a problem.
func (d *drill) problem(format string, args ...any) {
	d.out.Problems++
	d.Problem(fmt.Errorf(format, args...))
}

// load reads the newest state, and selects all mailboxes. end closes the state.
func (d *drill) load(ctx context.Context, f *repository.Found) (end func() error, err error) {
	kept := *f
	kept.Partition.Store = rangecache.New(f.Partition.Store, rangesKept)
	mem, err := kept.Load(ctx, history.Moment{Tolerant: true, Now: d.Now})
	if err != nil {
		return nil, err
	}
	for _, skipped := range mem.Skipped() {
		d.problem("%s is damaged; an older state and the log were read instead: %w", skipped.Object, skipped.Err)
	}
	if lost := f.Incomplete(mem); lost != nil {
		d.problem("%w", lost)
	}
	if err := f.MovedOut(ctx, mem); err != nil {
		d.Note(err.Error())
	}
	d.out.AsOf = mem.Time()
	d.src = restore.NewSource(mem, history.NewObjects(kept.Partition.Store, 0))
	if d.sel, err = d.src.Select(restore.Options{All: true, DeletedPrefix: d.DeletedPrefix, AdminForm: d.AdminForm}); err == nil {
		d.account, err = d.src.Account()
	}
	if err != nil {
		return nil, errors.Join(err, mem.Close())
	}
	for _, missing := range d.sel.NotHeld {
		d.problem("%w", missing)
	}
	return mem.Close, nil
}

// restore writes the files.
func (d *drill) restore(ctx context.Context) error {
	n, size := d.sel.Messages()
	if err := checkSpace(d.Scratch, n, size); err != nil {
		return err
	}
	rep := &restore.Report{Progress: silent{}, Problem: func(err error) { d.problem("%w", err) }, Warning: d.Note}
	err := files.New(d.src, rep, files.Options{Kind: "eml", Path: d.dir, DefaultDomain: d.DefaultDomain,
		DeletedPrefix: d.DeletedPrefix, AdminForm: d.AdminForm}).Restore(ctx, d.sel.Folders, d.account)
	d.added = rep.Sums().Added
	return err
}

// silent is a restore.Progress that shows nothing.
type silent struct{}

func (silent) Total(int, int64) {}
func (silent) Add(int, int64)   {}

// compare reads the files.
func (d *drill) compare(ctx context.Context) error {
	root, err := os.OpenRoot(d.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	paths, err := readFolders(root)
	if err != nil {
		return err
	}
	for _, f := range d.sel.Folders {
		path, ok := paths[f.From.UniqueID]
		if !ok {
			d.problem("%s: was not restored", f.Name)
			continue
		}
		if err := d.folder(ctx, root, path, f); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		d.out.Mailboxes++
	}
	// If all that was written is there, the restore has reported each of the others.
	if d.lines != d.added {
		for _, m := range d.missing {
			d.problem("%s uid %d: was not restored", m.mailbox, m.uid)
		}
	}
	return d.compareAccount(root)
}
