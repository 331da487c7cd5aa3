package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/syncport"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/filename"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/replication/client"
)

// batch restores many backups, several at a time. An error of one backup does not stop the
// others; only an error of the destination stops all.
type batch struct {
	*options
	bucket *cli.Bucket
	std    stdio
	now    time.Time
	done   *resumeFile
	report *batchReport
	limit  *rate.Limiter
	// longestPause is the longest pause before a silent server is tried again; all pauses
	// together are twice as long. 0 = 16 s.
	longestPause time.Duration

	mu   sync.Mutex
	gone error // why the destination is unusable; nil = usable
}

func (c *batch) run(ctx context.Context) (err error) {
	if c.done, err = openResumeFile(c.resume, c.options, c.now); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.done.close()) }()
	if c.longestPause == 0 {
		c.longestPause = 16 * time.Second
	}
	if c.rate > 0 {
		c.limit = limiter(c.rate)
	}
	c.report = newBatchReport(c.options, c.std)
	for _, p := range c.phases() {
		if err := c.phase(ctx, p); err != nil {
			return err
		}
	}
	return c.report.end(c.dryRun)
}

// phase is a part of the mail of all users.
type phase struct {
	name string        // "" = a single phase
	back time.Duration // maximum age of mail; 0 = any age
}

// phases returns one phase with all mail or, with --newest-first, phases of growing age.
func (c *batch) phases() []phase {
	if !c.newestFirst {
		return []phase{{}}
	}
	const day = 24 * time.Hour
	return []phase{{"of the last 7 days", 7 * day}, {"of the last 30 days", 30 * day}, {"of the last 365 days", 365 * day}, {name: "of any age"}}
}

func (c *batch) phase(ctx context.Context, p phase) error {
	c.report.phase(p)
	var group errgroup.Group
	group.SetLimit(c.parallel)
	found := false
	for f, err := range repository.BrowseAll(ctx, c.bucket.Partitions) {
		if ctx.Err() != nil {
			break
		}
		if err == nil && !c.chosen.fits(f, c.bucket.Conf.String("defaultdomain")) {
			continue
		}
		found = true
		group.Go(func() error {
			c.one(ctx, f, p, err)
			return nil
		})
	}
	_ = group.Wait() // errors are in the report
	if ctx.Err() == nil && !found {
		return fmt.Errorf("%s: no such backup", c.chosen)
	}
	return ctx.Err()
}

// one restores one backup, unless an earlier run has finished it.
func (c *batch) one(ctx context.Context, f *repository.Found, p phase, err error) {
	r := userResult{}
	if f != nil {
		r.Backup, r.Name = f.Path, f.Info.Name
		if err == nil && c.done.has(f.Path, p) {
			c.report.before()
			return
		}
	}
	if err == nil {
		r.Sums, r.AsOf, err = c.restore(ctx, f, p)
	}
	if ctx.Err() != nil {
		return // interrupted: the result is unknown
	}
	r.because(err)
	if r.Result == resultDone && !c.dryRun {
		if err := c.done.note(r, p); err != nil {
			r.because(err)
		}
	}
	c.report.user(r)
}

// restore restores one backup. It retries for a while if the server does not answer.
func (c *batch) restore(ctx context.Context, f *repository.Found, p phase) (restore.Sums, time.Time, error) {
	if err := c.unusable(nil); err != nil {
		return restore.Sums{}, time.Time{}, err
	}
	pause := c.longestPause / 16
	for {
		sums, asOf, err := c.try(ctx, f, p)
		full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
		if full || serverGone(err) {
			err = fmt.Errorf("%w: %w", errUnusable, err)
		}
		if !errors.Is(err, errUnusable) || ctx.Err() != nil {
			return sums, asOf, err
		}
		if full || pause > c.longestPause || refused(err) {
			return sums, asOf, c.unusable(err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause *= 2
	}
}

// errUnusable reports an unreachable server or a full disk.
var errUnusable = errors.New("the destination cannot be used")

// serverGone reports whether a connection to the server failed or broke. Errors of the store do
// not count, because they were already retried.
func serverGone(err error) bool {
	var refused *client.RefusedError
	if err == nil || objstore.IsTemporary(err) || errors.As(err, &refused) {
		return false
	}
	var none *syncport.UnreachableError
	var broken net.Error
	return errors.As(err, &none) || errors.As(err, &broken) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// refused reports whether the server rejected the login. A retry with the same password could
// lock the account.
func refused(err error) bool {
	var none *syncport.UnreachableError
	var broken net.Error
	return errors.As(err, &none) && !errors.As(err, &broken) && !errors.Is(err, io.EOF)
}

// unusable records that the destination is unusable, and returns the error, so that the other
// backups do not wait for it as well.
func (c *batch) unusable(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.gone = err
	}
	return c.gone
}

func (c *batch) try(ctx context.Context, f *repository.Found, p phase) (sums restore.Sums, asOf time.Time, err error) {
	o := *c.options
	o.backup, o.path, o.parallel = f.Path, f.Path, 1
	if f.Info.Kind == repository.KindUser {
		o.backup = f.Info.Name
	}
	if p.back > 0 {
		o.selection.NotBefore = c.moment.Time.Add(-p.back)
	}
	if o.toFiles != "" {
		if o.server, err = c.place(f); err != nil {
			return sums, asOf, err
		}
	}
	complain := &prefixed{to: c.report, prefix: "restore: " + f.Path + ": "}
	j, err := load(ctx, f, &job{options: &o, argv: o.alone(), bucket: c.bucket, limit: c.limit, std: stdio{out: io.Discard, err: complain, audit: c.std.audit}}, c.now)
	if errors.Is(err, history.ErrBeforeFirst) && !errors.Is(err, history.ErrNotKept) {
		err = c.younger(ctx, f, o, err)
	}
	if err != nil {
		return sums, asOf, err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	rep := &restore.Report{Progress: c.report, Problem: func(err error) { complain.say(err.Error()) }, Warning: complain.say}
	err = j.restore(ctx, rep, func(error) {})
	return rep.Sums(), j.asOf, err
}

// place returns the directory for the files of a backup. No other user's name or link leads
// there.
func (c *batch) place(f *repository.Found) (string, error) {
	kind, _ := filepath.Split(f.Path)
	below := filepath.Join(kind, filename.Component(f.Info.Name))
	to := filepath.Join(c.server, below)
	if c.dryRun {
		return to, nil
	}
	if err := os.MkdirAll(c.server, 0o700); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(c.server)
	if err != nil {
		return "", err
	}
	defer root.Close()
	for _, part := range []string{kind, below} {
		if err := root.Mkdir(filepath.Clean(part), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		if info, err := root.Lstat(filepath.Clean(part)); err != nil || !info.IsDir() {
			return "", errors.Join(err, fmt.Errorf("%s: not a directory", filepath.Join(c.server, part)))
		}
	}
	return to, nil
}

// younger distinguishes a backup that began after the requested time, which has nothing to
// restore, from a backup with a lost log.
func (c *batch) younger(ctx context.Context, f *repository.Found, o options, before error) error {
	o.moment = history.Moment{}
	mem, err := f.Load(ctx, history.Moment{FromLog: c.fromLog, Tolerant: true, Now: c.now})
	if err != nil {
		return explain(err, &o)
	}
	return errors.Join(fmt.Errorf("%w: %w", restore.ErrNothing, before), mem.Close())
}

// alone returns the command line that restores only this backup.
func (o *options) alone() (argv []string) {
	if o.config != imapconf.DefaultPath {
		argv = append(argv, "-C", o.config)
	}
	if o.toFiles != "" {
		return append(argv, "--to", o.toFiles+":"+o.server, "-f", o.path, "-a")
	}
	return append(argv, o.server, "-f", o.path, "-a")
}

// prefixed adds the backup's name to warnings.
type prefixed struct {
	to     *batchReport
	prefix string
}

func (p *prefixed) say(s string) { p.to.complain(p.prefix + s) }

// Write writes warnings, which are whole lines.
func (p *prefixed) Write(b []byte) (int, error) {
	p.say(string(b[len("restore: ") : len(b)-1]))
	return len(b), nil
}
