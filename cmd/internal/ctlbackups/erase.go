package ctlbackups

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// checkErase checks the options of erase.
func (c *command) checkErase() error {
	c.reason = strings.Join(strings.Fields(c.reason), " ")
	switch {
	case c.many():
		return cli.Usagef("erase takes names of single backups")
	case c.reason == "" && !c.dryRun:
		return cli.Usagef("erase needs --reason: it is in the record that remains")
	case c.before != "" && len(c.messages) > 0:
		return cli.Usagef("only one of --before and --message can be given")
	case c.cancel && (c.before == "" && len(c.messages) == 0 || c.waitErased):
		return cli.Usagef("--cancel needs the time of the erasure, --before, or its messages, --message, and cannot be used with --wait")
	case len(c.messages) > 0:
		return c.checkMessages()
	}
	return c.checkBefore()
}

func (c *command) checkEraseList() error {
	if c.anyMode() || len(c.args) > 0 || c.yes || c.waitErased || c.cancel || c.dryRun || c.reason != "" || c.before != "" || len(c.messages) > 0 {
		return cli.Usagef("erase --list takes no mode, no names and no other options")
	}
	return nil
}

// eraseTotals counts for the line in syslog.
type eraseTotals struct {
	backups, failed int
	objects, bytes  int64
	packs           int64
}

// erase removes backups with all their copies, before retention would.
func erase(c *command) error {
	if c.list {
		return c.eraseList()
	}
	var t eraseTotals
	failed := false
	for _, arg := range c.args {
		one := c.eraseOne
		switch {
		case c.cancel:
			one = c.cancelPart
		case c.before != "":
			one = c.eraseHistory
		case len(c.messages) > 0:
			one = c.eraseMessages
		}
		err := one(arg, &t)
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		if err == nil {
			continue
		}
		if u := (*cli.UsageError)(nil); errors.As(err, &u) {
			return err
		}
		failed = true
		t.failed++
		if !errors.Is(err, cli.ErrReported) {
			cli.Fprintf(c.err, "ctl_backups: erase %s: %v\n", arg, err)
		}
		if c.stop {
			break
		}
	}
	var err error
	if failed {
		err = cli.ErrReported
	}
	if !c.dryRun && (t.backups > 0 || t.failed > 0) {
		attrs := []any{"what", c.what(), "reason", c.reason, "before", c.before, "backups", t.backups, "failed", t.failed,
			"objects", t.objects, "bytes", t.bytes, "packs", t.packs}
		if len(c.messages) > 0 {
			attrs = append(attrs, "messages", strings.Join(c.messages, " "))
		}
		if c.cancel {
			attrs = append(attrs, "cancelled", true)
		}
		c.audit.Done(c.bucket.Conf, "erase", err, attrs...)
	}
	return err
}

func (c *command) eraseOne(arg string, t *eraseTotals) error {
	s, err := c.surveyed(arg)
	if err != nil {
		return err
	}
	if err := s.Held(); err != nil {
		return err
	}
	if c.dryRun {
		return c.showSurvey(s, true)
	}
	if len(s.Copies) > 0 {
		if err := c.confirm(s); err != nil {
			return err
		}
	}
	done, err := erasure.Erase(c.ctx, s, erasure.Options{By: c.person(), Reason: c.reason, Lock: c.lockOptions("erase")})
	for _, d := range done {
		t.objects += d.Objects
		t.bytes += d.Bytes
		t.packs += d.Packs
		if perr := c.erasedPart(d); perr != nil {
			return errors.Join(err, perr)
		}
	}
	if err != nil {
		return err
	}
	t.backups++
	return errors.Join(c.eraseRest(s.Name), c.stayNamed(s.Name, done))
}

// surveyed finds all that exists of the backup that an argument means. An argument that may mean
// several is an error.
func (c *command) surveyed(arg string) (found *erasure.Survey, err error) {
	names, err := c.bucket.WholeNames(c.single(), arg)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		s, err := erasure.Look(c.ctx, c.bucket.Partitions, n, c.hostNow)
		switch {
		case err != nil:
			return nil, err
		case len(s.Copies)+len(s.Records) == 0:
		case found != nil:
			return nil, fmt.Errorf("it may mean %s or %s: give the path, %s or %s, with -f", found.Name, n, found.Name.Path(), n.Path())
		default:
			found = s
		}
	}
	if found == nil {
		return nil, fmt.Errorf("not found: %w (erase takes whole backups: a userid, or with -m an INBOX or a top-level mailbox)", repository.ErrNoBackup)
	}
	return found, nil
}

// confirm shows the copies, and asks.
func (c *command) confirm(s *erasure.Survey) error {
	return c.confirmed(s.Name, "erase it", func() error { return c.showSurvey(s, false) })
}

// confirmed calls show, and asks for a name.
func (c *command) confirmed(n repository.Name, to string, show func() error) error {
	if c.yes {
		return nil
	}
	if !c.asks() {
		return cli.Usagef("erase asks before it removes anything, and standard input is no terminal: use --yes")
	}
	if err := show(); err != nil {
		return err
	}
	if _, err := cli.Fprintf(c.out, "Nobody can undo this. Type the name to %s: ", to); err != nil {
		return err
	}
	if err := c.flush(); err != nil {
		return err
	}
	answer, err := bufio.NewReader(c.in).ReadString('\n')
	if strings.TrimSpace(answer) != n.Full {
		return errors.Join(errors.New("not confirmed: nothing was erased"), c.ctx.Err())
	}
	return err
}

// asks reports whether somebody can answer.
func (c *command) asks() bool {
	if c.terminal {
		return true
	}
	f, ok := c.in.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
