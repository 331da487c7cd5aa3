// Package drill restores backups into a scratch directory, as restore --to eml:DIR does, or into a
// Cyrus server, as restore SERVER -U does, and compares the result with the backup and with the mail
// server's own checksums.
//
// The files are read by code of this package, from what docs/restore.md says about them, so that
// an error of the program that wrote them is found, too. A server reports its mailboxes and sends its
// messages over the replication port. The checksums that it computes are compared, too.
package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/objstore/rangecache"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// rangesKept limits the cache for blocks of records and for single frames, as in restore.
const rangesKept = 8 << 20

// Options of a drill.
type Options struct {
	Scratch       string  // a directory for the files, which are removed at the end
	Server        *Server // nil = restore files
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
	Messages  int           // whose SHA-1, size, date and flags are right
	Bytes     int64         // of these messages
	Took      time.Duration // from the first request to the last message at its place, without the comparison
	Problems  int
	Nothing   bool  // the backup has no mailbox to restore, so nothing was proven
	Left      error // why the server still has the scratch user; nil = it was removed
}

// place is where a drill restores to.
type place interface {
	// prepare removes what an interrupted drill has left. done removes what this one leaves.
	prepare(context.Context) (done func() error, err error)
	// some reports whether there is a mailbox to restore.
	some() bool
	restore(context.Context) error
	compare(context.Context) error
}

// Run restores the newest state of a backup, compares it, and removes it. An error means that the
// drill could not be carried out, a *ServerError that this is not the backup's fault; problems of single
// items are in Result.Problems.
func Run(ctx context.Context, f *repository.Found, o Options) (out Result, err error) {
	d := &drill{Options: o, out: &out}
	to := d.place()
	done, err := to.prepare(ctx)
	if err != nil {
		return out, err
	}
	defer func() {
		left := done()
		if fault := new(ServerError); errors.As(left, &fault) {
			out.Left = left
			return
		}
		err = errors.Join(err, left)
	}()
	begun := o.Clock()
	end, err := d.load(ctx, f)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, end()) }()
	if out.Nothing = !to.some(); out.Nothing {
		return out, nil
	}
	if err := to.restore(ctx); err != nil {
		return out, err
	}
	out.Took = o.Clock().Sub(begun)
	if err := to.compare(ctx); err != nil {
		return out, err
	}
	d.reportMissing()
	return out, nil
}

// drill is the work on one backup.
type drill struct {
	Options
	out     *Result
	src     *restore.Source
	sel     *restore.Selection
	account *restore.Account
	added   int       // messages that the restore reports as written
	excused int       // problems that the restore has reported itself
	found   int       // messages that are there
	missing []missing // the mailboxes with messages that are not there
}

func (d *drill) place() place {
	if d.Server != nil {
		return &inServer{drill: d}
	}
	return &directory{drill: d}
}

// missing is a mailbox with messages that are not there.
type missing struct {
	mailbox string
	n       int
	first   uint32 // uid
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

// report returns what the restore reports to.
func (d *drill) report() *restore.Report {
	return &restore.Report{Progress: silent{}, Problem: func(err error) { d.problem("%w", err) }, Warning: d.Note}
}

// restored takes the counts of a restore that has ended.
func (d *drill) restored(rep *restore.Report) {
	sums := rep.Sums()
	d.added, d.excused = sums.Added, sums.Problems
}

// silent is a restore.Progress that shows nothing.
type silent struct{}

func (silent) Total(int, int64) {}
func (silent) Add(int, int64)   {}

// lost notes messages of a mailbox that are not there.
func (d *drill) lost(f *restore.Folder, refs []restore.Ref) {
	if len(refs) == 0 {
		return
	}
	if n := len(d.missing); n > 0 && d.missing[n-1].mailbox == f.From.Name {
		d.missing[n-1].n += len(refs)
		return
	}
	d.missing = append(d.missing, missing{f.From.Name, len(refs), refs[0].UID})
}

// reportMissing reports messages that are not there. It is silent only if the restore can have reported
// each of them: it has reported as many problems, and all that it has written is there.
func (d *drill) reportMissing() {
	n := 0
	for _, m := range d.missing {
		n += m.n
	}
	if n <= d.excused && d.found == d.added {
		return
	}
	for _, m := range d.missing {
		if m.n == 1 {
			d.problem("%s uid %d: was not restored", m.mailbox, m.first)
			continue
		}
		d.problem("%s: %d messages were not restored, the first is uid %d", m.mailbox, m.n, m.first)
	}
}
