package cyrbackup

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/cmdline"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// options applies the options that only some commands have.
func (c *command) options(v verb, p *cmdline.Program, g *given) error {
	if err := c.applies(v, p, g); err != nil {
		return err
	}
	c.at.Number = g.commit
	for _, o := range []struct {
		name, text string
		at         *time.Time
		ends       bool // an upper bound
	}{{"at", g.at, &c.at.Time, true}, {"since", g.since, &c.since, false}, {"until", g.until, &c.until, true},
		{"from", g.from, &c.from, true}, {"to", g.to, &c.to, true}} {
		if !p.Changed(o.name) {
			continue
		}
		read := timespec.Past
		if o.name == "until" || o.name == "to" {
			read = timespec.Parse // an upper bound in the future means now
		}
		t, err := read(o.text, c.now)
		if err != nil {
			return cli.Usagef("--%s: %v", o.name, err)
		}
		if t.Note != "" {
			c.warn("--" + o.name + ": " + t.Note)
		}
		*o.at = t.Time
		if o.ends {
			*o.at = timespec.Through(t.Time)
		}
	}
	switch {
	case !c.to.IsZero() && c.to.Before(c.from):
		return cli.Usagef("--to is before --from")
	case !c.until.IsZero() && c.until.Before(c.since):
		return cli.Usagef("--until is before --since")
	}
	return nil
}

// applies rejects options that the command would ignore.
func (c *command) applies(v verb, p *cmdline.Program, g *given) error {
	log, diff := v.Name == "log", v.Name == "diff"
	lines := log || diff || v.Name == "find"
	takes := map[string]bool{
		"at": v.loads, "commit": v.loads, "since": log, "until": log, "from": diff, "to": diff, "max": lines, "json": lines,
	}
	names := []string{"at", "commit", "since", "until", "from", "to", "max", "json"}
	for _, n := range names {
		if p.Changed(n) && !takes[n] {
			return cli.Usagef("--%s cannot be used with this command", n)
		}
	}
	switch {
	case g.all && v.Name != "find":
		return cli.Usagef("-A is only for find")
	case g.all && (g.user || g.mailbox || g.path):
		return cli.Usagef("only one of -A, -u, -m and -f can be given")
	case g.all && p.Changed("commit"):
		return cli.Usagef("--commit cannot be used with -A: each backup counts its own commits")
	case p.Changed("at") && p.Changed("commit"):
		return cli.Usagef("only one of --at and --commit can be given")
	case p.Changed("commit") && g.commit == 0:
		return cli.Usagef("--commit: commits are numbered from 1")
	case diff && !p.Changed("from"):
		return cli.Usagef("diff needs --from TIME")
	case c.max < 0:
		return cli.Usagef("--max must not be negative")
	}
	return nil
}

// explain adds advice to the error about a moment without a state.
func (c *command) explain(err error) error {
	if !errors.Is(err, history.ErrBeforeFirst) || errors.Is(err, history.ErrNotKept) {
		return err
	}
	first, ferr := c.firstHeader()
	if ferr != nil {
		return errors.Join(err, ferr)
	}
	return fmt.Errorf("%w: the history of %s begins with commit %d of %s", err, c.found.Name(), first.Number, timespec.Text(c.made(&history.Times{Now: c.now}, first)))
}

// firstHeader returns the header of the oldest commit in the log.
func (c *command) firstHeader() (history.Header, error) {
	n, err := firstCommit(c)
	if err != nil {
		return history.Header{}, err
	}
	for r, err := range c.found.Log().Commits(c.ctx, n, n) {
		if err != nil {
			return history.Header{}, err
		}
		return r.Header(), nil
	}
	return history.Header{}, nil
}

// made returns the time of a commit, or its store time if nothing else is known.
func (c *command) made(t *history.Times, h history.Header) time.Time {
	if at := t.Next(h); !at.IsZero() {
		return at
	}
	return h.Time
}

// loadAt loads the state of a moment; nil before the first commit.
func (c *command) loadAt(at history.Moment) (*history.Mem, error) {
	m, err := c.load(at)
	if errors.Is(err, history.ErrBeforeFirst) && !errors.Is(err, history.ErrNotKept) {
		return nil, nil
	}
	return m, err
}

// load loads the state of a moment.
func (c *command) load(at history.Moment) (*history.Mem, error) {
	at.Now = c.now
	return c.found.Load(c.ctx, at)
}

// doubts warns about wrong store times in the log up to a state.
func (c *command) doubts(m *history.Mem) {
	times := m.Times()
	c.warn(times.Doubts())
}

// warn prints a warning once; "" prints nothing.
func (c *command) warn(text string) {
	if text != "" && !slices.Contains(c.warned, text) {
		c.warned = append(c.warned, text)
		cli.Fprintf(c.err, "cyr_backup: warning: %s\n", text)
	}
}

// errEnough ends a command after --max lines.
var errEnough = errors.New("enough")

// enough turns errEnough into the end of the command.
func enough(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// difference returns the elements of b that are not in a.
func difference(a, b []string) []string {
	var out []string
	for _, s := range b {
		if !slices.Contains(a, s) {
			out = append(out, s)
		}
	}
	return out
}
