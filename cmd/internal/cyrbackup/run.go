// Package cyrbackup is cyr_backup, which looks into one backup. It reads the bucket, not the
// server's index, so it runs wherever the bucket's keys are.
package cyrbackup

import (
	"cmp"
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/clock"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Main runs the program and returns its exit status. args begin with the program's name.
func Main(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	out := cli.NewBuffered(stdout)
	cli.SaveMemory()
	return cli.Main("cyr_backup", commandLine(new(given), new(command)).Usage(), stderr, func(ctx context.Context) error {
		err := run(ctx, cli.Open, args[1:], out, stderr)
		if flushed := out.Flush(); err == nil {
			err = flushed
		}
		return err
	})
}

// command is one run of the program.
type command struct {
	ctx    context.Context
	bucket *cli.Bucket
	found  *repository.Found
	mem    *history.Mem // nil for commands that load what they need
	out    io.Writer    // escapes text of strangers
	bytes  io.Writer    // out for raw messages; escaped only on a terminal
	err    io.Writer
	flush  func() error // writes what out has buffered
	names  []string

	at           history.Moment
	since, until time.Time // log; zero = open
	from, to     time.Time // diff; to zero = now
	now          time.Time
	max          int // lines; 0 = all
	json         bool
	human        bool
	verbose      bool
	warned       []string
	lives        history.Lives
}

func run(ctx context.Context, open cli.Opener, argv []string, out, stderr io.Writer) error {
	safe := cli.Output(out)
	c := &command{ctx: ctx, out: safe, bytes: out, err: cli.Messages(stderr), now: clock.Now()}
	if cli.Terminal(out) != nil {
		c.bytes = safe
	}
	c.flush = func() error {
		err := safe.Flush()
		if below, ok := out.(*cli.Buffered); ok {
			err = cmp.Or(err, below.Flush())
		}
		return err
	}
	err := c.run(open, argv)
	if flushed := safe.Flush(); err == nil {
		err = flushed
	}
	return err
}

func (c *command) run(open cli.Opener, argv []string) error {
	var g given
	p := commandLine(&g, c)
	if done, err := p.Parse(c.ctx, argv, c.bytes); done {
		return err
	} else if err != nil {
		return cli.Usagef("%v", err)
	}
	c.verbose = g.verbose > 0
	mode, err := modeOf(g.user, g.mailbox, g.path)
	if err != nil {
		return err
	}
	words := p.Args()
	if !g.all && len(words) > 0 {
		words = words[1:]
	}
	if len(words) == 0 {
		return cli.Usagef("name a backup and a command")
	}
	v, names, err := lookup(words)
	if err != nil {
		return err
	}
	c.names = names
	if err := c.options(v, p, &g); err != nil {
		return err
	}
	if c.bucket, err = open(c.ctx, g.config, "cyr_backup"); err != nil {
		return err
	}
	defer c.bucket.Close()
	if g.all {
		return findEverywhere(c)
	}
	if c.found, err = c.bucket.Find(c.ctx, mode, p.Args()[0]); err != nil {
		return err
	}
	c.bucket.Warn(c.err, "cyr_backup", c.found)
	return c.do(v)
}

// do runs a command on the backup that was found.
func (c *command) do(v verb) error {
	var incomplete error
	if v.loads {
		var err error
		c.at.Heads = v.heads
		if incomplete, err = c.loadFound(); err != nil {
			return c.explain(err)
		}
		defer c.mem.Close()
	}
	if err := v.do(c); err != nil || incomplete == nil {
		return err
	}
	cli.Fprintf(c.err, "cyr_backup: %v\n", incomplete)
	return cli.ErrReported
}

// loadFound loads the state of the backup. incomplete names the changes that it lacks.
func (c *command) loadFound() (incomplete, err error) {
	if err := c.loadState(); err != nil {
		return nil, err
	}
	return c.incomplete(), nil
}

// loadState reads the state at the moment, and prints nothing.
func (c *command) loadState() (err error) {
	c.at.Tolerant = true
	if c.mem, err = c.load(c.at); err != nil {
		return err
	}
	if err := c.readLives(); err != nil {
		return errors.Join(err, c.mem.Close())
	}
	return nil
}

// incomplete warns about the state, and returns an error if it is incomplete.
func (c *command) incomplete() error {
	c.doubts(c.mem)
	if err := c.found.MovedOut(c.ctx, c.mem); err != nil {
		cli.Fprintf(c.err, "cyr_backup: warning: %v\n", err)
	}
	return c.found.Incomplete(c.mem)
}

func modeOf(user, mailbox, path bool) (cli.Mode, error) {
	switch {
	case user && mailbox || user && path || mailbox && path:
		return 0, cli.Usagef("only one of -u, -m and -f can be given")
	case mailbox:
		return cli.ByMailbox, nil
	case path:
		return cli.ByPath, nil
	}
	return cli.ByUser, nil
}

// local formats a time like Cyrus's tools, with its offset from UTC.
func local(sec int64) string { return timespec.Text(timeOf(sec)) }

func (c *command) printf(format string, args ...any) { cli.Fprintf(c.out, format, args...) }

// isUniqueID accepts 24 letters and digits, or a UUID (backup/restore.c).
func isUniqueID(s string) bool {
	ok := strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyz-") == ""
	return ok && (len(s) == 24 || len(s) == 36)
}
