// Package restore is the program of that name, which restores mail from a backup: into a
// Cyrus server, into any IMAP server, or into files.
package restore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/clock"
	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/visible"
	"github.com/cyrusbackup/backupd/objstore/rangecache"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/replication/client"
)

// Main runs the program and returns its exit status. args begin with the program's name.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return cli.Main("restore", (&given{options: &options{}}).commandLine().Usage(), stderr, func(ctx context.Context) error {
		return run(ctx, args[1:], stdio{stdin, stdout, stderr, cli.Audit{Tool: "restore"}})
	})
}

// rangesKept limits the cache for blocks of records, which are read to select messages and again
// to restore them, and for frames of messages that are read one by one. Restores of many messages
// keep the decoded frames themselves.
const rangesKept = 8 << 20

type stdio struct {
	in       io.Reader
	out, err io.Writer
	audit    cli.Audit
}

// destination is the destination of a restore.
type destination interface {
	Restore(ctx context.Context, folders []*restore.Folder, account *restore.Account) error
}

// safe returns std with control characters of strangers escaped. Each write must be whole
// lines.
func (std stdio) safe() stdio {
	std.out, std.err = cli.Output(std.out), cli.Messages(std.err)
	return std
}

// perConnection is the memory for one user or folder at a time: a million small messages need
// about 80 MiB.
const perConnection = 96 << 20

func run(ctx context.Context, argv []string, std stdio) error {
	std = std.safe()
	now := clock.Now()
	o, err := parse(ctx, argv, std, now)
	if err != nil || o == nil {
		return err
	}
	cli.LimitMemory(int64(o.parallel) * perConnection)
	for _, n := range o.notes {
		fmt.Fprintf(std.err, "restore: warning: %s\n", n)
	}
	if err := sleep(ctx, o.sleep); err != nil {
		return err
	}
	b, err := cli.Open(ctx, o.config, "restore")
	if err != nil {
		return err
	}
	defer b.Close()
	o.selection.DeletedPrefix = b.Conf.String("deletedprefix")
	o.selection.AdminForm = stores.AdminForm(b.Conf)
	o.selection.Moves = o.moves(b.Conf.String("defaultdomain"))
	if o.selection.Into != "" {
		o.selection.Into = o.selection.AdminForm.Candidates(o.selection.Into)[0]
	}
	if o.chosen != nil {
		return (&batch{options: o, bucket: b, std: std, now: now}).run(ctx)
	}
	found, err := b.Find(ctx, o.mode, o.backup)
	if err != nil {
		return err
	}
	b.Warn(std.err, "restore", found)
	j, err := load(ctx, found, &job{options: o, argv: argv, bucket: b, std: std}, now)
	if err != nil {
		return err
	}
	defer j.close()
	return j.run(ctx)
}

// load loads the state of a backup into a job.
func load(ctx context.Context, found *repository.Found, j *job, now time.Time) (*job, error) {
	at := j.moment
	at.FromLog, at.Tolerant, at.Now = j.fromLog, true, now
	kept := *found
	kept.Partition.Store = rangecache.New(found.Partition.Store, rangesKept)
	mem, err := kept.Load(ctx, at)
	if err == nil {
		mem, err = j.loadLife(ctx, &kept, mem, at)
	}
	if err != nil {
		return nil, explain(err, j.options)
	}
	times := mem.Times()
	if doubts := times.Doubts(); doubts != "" {
		j.warn("%s", doubts)
	}
	if err := found.MovedOut(ctx, mem); err != nil {
		j.warn("%v", err)
	}
	for _, d := range mem.Skipped() {
		j.warn("%s is damaged; reading an older state and the log instead: %v", d.Object, d.Err)
	}
	j.src = restore.NewSource(mem, history.NewObjects(kept.Partition.Store, 0))
	j.src.KeepDeleted, j.src.Limit = j.keepDeleted, j.limit
	if j.rate > 0 && j.limit == nil {
		j.src.Limit = limiter(j.rate)
	}
	j.found, j.asOf, j.incomplete, j.close = found, mem.Time(), found.Incomplete(mem), mem.Close
	return j, nil
}

// limiter limits all its users together to bytes per second.
func limiter(bytes int64) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(bytes), int(min(bytes, 1<<20)))
}

// explain adds advice to errors about a missing moment and about damage.
func explain(err error, o *options) error {
	switch {
	case errors.Is(err, history.ErrNotKept):
		return fmt.Errorf("%w: cyr_backup %s list chunks shows the available times", err, o.backup)
	case errors.Is(err, history.ErrBeforeFirst) && o.moment == history.Moment{}:
		return fmt.Errorf("the log of the backup is empty, or was lost: run ctl_backups verify %s (%w)", o.backup, err)
	case errors.Is(err, history.ErrBeforeFirst):
		return fmt.Errorf("nothing of the backup is as old as %s: cyr_backup %s list chunks shows the available times (%w)", o.moment, o.backup, err)
	case noAdministrator(err):
		return fmt.Errorf("%w (restore_authname, or sync_authname, has to be an administrator of that server: admins in its imapd.conf)", err)
	case history.IsUnreadable(err) && !errors.Is(err, history.ErrAbsent) && !o.fromLog:
		return fmt.Errorf("%w. If that is a checkpoint or a part of one, --from-log skips it; ctl_backups verify %s reports the damage", err, o.backup)
	}
	return err
}

// noAdministrator reports whether a server refused a command because of missing rights (the
// text of IMAP_PERMISSION_DENIED, which has no token).
func noAdministrator(err error) bool {
	var refused *client.RefusedError
	return errors.As(err, &refused) && strings.Contains(refused.Text, "Permission denied")
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// job is one restore.
type job struct {
	*options
	argv   []string
	bucket *cli.Bucket
	src    *restore.Source
	found  *repository.Found
	std    stdio
	asOf   time.Time
	// incomplete names the changes that cannot be restored; nil = none.
	incomplete error
	close      func() error  // closes the state
	limit      *rate.Limiter // shared by jobs; nil = none
}

func (j *job) warn(format string, args ...any) {
	fmt.Fprintf(j.std.err, "restore: warning: "+format+"\n", args...)
}

// run restores one backup and prints the summary.
func (j *job) run(ctx context.Context) error {
	bar := newProgress(j.options, j.std.err)
	rep := &restore.Report{Progress: bar, Problem: func(err error) { bar.line(j.std.err, "restore: "+err.Error()) }}
	rep.Warning = func(s string) { bar.line(j.std.err, "restore: warning: "+s) }
	if j.verbose > 0 || j.dryRun {
		rep.Line = func(s string) { bar.line(j.std.out, visible.Text(s)) }
	}
	return j.restore(ctx, rep, func(err error) {
		bar.end()
		j.summary(rep.Sums(), err)
	})
}

// restore runs the restore and writes a line to syslog, because it handles other people's mail.
// ended is called before notes about mail that was not restored.
func (j *job) restore(ctx context.Context, rep *restore.Report, ended func(error)) error {
	sel, err := j.restoreSelection(ctx, rep)
	ended(err)
	if err == nil {
		err = j.reportDeletions(ctx, sel)
	}
	if err == nil && rep.Sums().Problems > 0 {
		err = cli.ErrReported
	}
	if !j.dryRun {
		j.std.audit.Done(j.bucket.Conf, "restore", err, j.trace(rep.Sums())...)
	}
	return err
}

// restoreSelection selects messages and restores them.
func (j *job) restoreSelection(ctx context.Context, rep *restore.Report) (*restore.Selection, error) {
	sel, err := j.src.Select(j.selection)
	if err != nil {
		return nil, explain(err, j.options)
	}
	if err := j.doubts(sel, rep); err != nil {
		return nil, err
	}
	if err := j.reportFormerLives(); err != nil {
		return nil, err
	}
	rep.Progress.Total(sel.Messages())
	var account *restore.Account
	if sel.Account {
		if account, err = j.src.AccountAtEnd(sel.End); err != nil {
			return nil, err
		}
		if len(sel.Folders) == 0 && account.Empty() {
			return nil, j.nothingLeft(ctx)
		}
	}
	to, err := j.destination(rep)
	if err != nil {
		return nil, err
	}
	if out := leftOut(j.toFiles); account != nil && out != "" {
		rep.Say("%s", out)
	}
	return sel, explain(to.Restore(ctx, sel.Folders, account), j.options)
}

// doubts reports what cannot be restored of the selection. It rejects an empty selection, and a
// --map without effect.
func (j *job) doubts(sel *restore.Selection, rep *restore.Report) error {
	if j.incomplete != nil {
		rep.Fail(j.incomplete)
	}
	for _, err := range sel.Erased {
		rep.Erased(err)
	}
	for _, err := range slices.Concat(sel.Unknown, sel.NotHeld) {
		rep.Fail(err)
	}
	if len(sel.Folders) == 0 && !sel.Account {
		if len(sel.Unknown) > 0 {
			return cli.ErrReported
		}
		return restore.ErrNothing
	}
	if len(sel.Folders) > 0 && len(sel.Unused) > 0 {
		name := j.selection.AdminForm.External(sel.Unused[0].Old)
		return cli.Usagef("--map %s=...: no mailbox of this restore is %s or below it; nothing was restored", name, name)
	}
	return nil
}

// lines reads the objects of -F: one per line, without comments and empty lines.
func lines(r io.Reader) ([]string, error) {
	var out []string
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		if t := sc.Text(); t != "" && t[0] != '#' {
			out = append(out, t)
		}
	}
	return out, sc.Err()
}
