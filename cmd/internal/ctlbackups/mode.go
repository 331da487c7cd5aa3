package ctlbackups

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// mode is how names on the command line choose backups.
type mode byte

const (
	modeUsers     mode = 'u'
	modeAll       mode = 'A'
	modeDomains   mode = 'D'
	modePrefixes  mode = 'P'
	modePaths     mode = 'f'
	modeMailboxes mode = 'm'
)

func allModes() []mode {
	return []mode{modeUsers, modeAll, modeDomains, modePrefixes, modePaths, modeMailboxes}
}

func (m mode) short() string { return string(rune(m)) }

func (m mode) long() string {
	return map[mode]string{modeUsers: "userids", modeAll: "all", modeDomains: "domains",
		modePrefixes: "prefixes", modePaths: "filenames", modeMailboxes: "mailboxes"}[m]
}

// text returns the text for --help.
func (m mode) text() string {
	return map[mode]string{modeUsers: "userids, or names as list prints them; %SHARED means all shared mailboxes; this is the default", modeAll: "every backup; takes no names",
		modeDomains: "domains: the backups of all users in them", modePrefixes: "prefixes of userids",
		modePaths: "paths in the bucket below backups/, such as user/anne", modeMailboxes: "mailboxes: the backups that contain them"}[m]
}

func (c *command) setMode() error {
	c.mode = modeUsers
	n := 0
	for _, m := range allModes() {
		if *c.modes[m] {
			c.mode = m
			n++
		}
	}
	if n > 1 {
		return cli.Usagef("only one mode can be given")
	}
	return nil
}

// chosen returns the backups that the command line chooses. A name that matches none is
// reported, and the exit status becomes 75.
func (c *command) chosen() iter.Seq2[*repository.Found, error] {
	if c.many() {
		return c.browsed()
	}
	return func(yield func(*repository.Found, error) bool) {
		for _, name := range c.args {
			if c.mode == modeUsers && name == cli.AllShared {
				if !c.allShared(yield) {
					return
				}
				continue
			}
			f, err := c.bucket.Find(c.ctx, c.single(), name)
			switch {
			case errors.Is(err, repository.ErrNoBackup):
				err = fmt.Errorf("%s: not found: %w", name, err)
			case err == nil:
				c.bucket.Warn(c.err, "ctl_backups", f)
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// allShared yields the backups of shared mailboxes. It returns false if yield did.
func (c *command) allShared(yield func(*repository.Found, error) bool) bool {
	none := true
	for f, err := range c.bucket.Shared(c.ctx) {
		none = false
		if !yield(f, err) {
			return false
		}
	}
	return !none || yield(nil, fmt.Errorf("%s: not found: %w of a shared mailbox", cli.AllShared, repository.ErrNoBackup))
}

// many reports whether an argument can mean many backups.
func (c *command) many() bool {
	return c.mode == modeAll || c.mode == modeDomains || c.mode == modePrefixes
}

func (c *command) single() cli.Mode {
	switch c.mode {
	case modeMailboxes:
		return cli.ByMailbox
	case modePaths:
		return cli.ByPath
	}
	return cli.ByUser
}

func (c *command) browsed() iter.Seq2[*repository.Found, error] {
	return c.browsedWith(nil)
}

// browsedWith is browsed with what earlier runs have remembered.
func (c *command) browsedWith(known func(repository.Config) *repository.Known) iter.Seq2[*repository.Found, error] {
	return func(yield func(*repository.Found, error) bool) {
		for f, err := range repository.BrowseKnown(c.ctx, c.bucket.Partitions, known) {
			if err == nil && !c.fits(f) {
				continue
			}
			if !yield(f, err) {
				return
			}
		}
		for err := range c.unmatched() {
			if !yield(nil, err) {
				return
			}
		}
	}
}

// fits reports whether -A, -D or -P chooses a backup.
func (c *command) fits(f *repository.Found) bool {
	if c.mode == modeAll {
		return true
	}
	fits := false
	for i, a := range c.args {
		if f.Info.Kind == repository.KindUser && c.fitsName(f.Info.Name, a) {
			c.matched[i], fits = true, true
		}
	}
	return fits
}

// fitsName reports whether a userid is in a domain, or has a prefix.
func (c *command) fitsName(userid, arg string) bool {
	if c.mode == modePrefixes {
		return strings.HasPrefix(userid, arg)
	}
	return cli.InDomain(userid, arg, c.bucket.Conf.String("defaultdomain"))
}

// unmatched returns an error for each domain or prefix that no backup matched. Otherwise a typo
// would look like success.
func (c *command) unmatched() iter.Seq[error] {
	return func(yield func(error) bool) {
		for i, a := range c.args {
			if c.many() && !c.matched[i] && !yield(fmt.Errorf("%s: not found: no userid matches", a)) {
				return
			}
		}
	}
}

// each calls fn for each chosen backup and reports failures on standard error.
func (c *command) each(fn func(*repository.Found) error) error { return c.eachOf(c.chosen(), fn) }

func (c *command) eachOf(backups iter.Seq2[*repository.Found, error], fn func(*repository.Found) error) error {
	return c.report(func(yield func(error) bool) {
		for f, err := range backups {
			if err == nil {
				err = fn(f)
			}
			if !yield(err) {
				return
			}
		}
	})
}

// report prints the failures among the results of backups.
func (c *command) report(results iter.Seq[error]) error {
	failed, unasked := false, []error(nil)
	for err := range results {
		if err == nil {
			continue
		}
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		failed = true
		switch u := (repository.UnaskedError{}); {
		case c.many() && errors.As(err, &u) && err.Error() == u.Error():
			unasked = append(unasked, err) // of a partition, not of a backup
		case !errors.Is(err, cli.ErrReported):
			cli.Fprintf(c.err, "ctl_backups: %v\n", err)
		}
		if c.stop {
			break
		}
	}
	if c.leftOut(unasked) || failed {
		return cli.ErrReported
	}
	return nil
}

// leftOut prints the partitions that could not be read, each once: those that the bucket knows, and those
// whose listing has failed.
func (c *command) leftOut(unasked []error) (any bool) {
	if !c.many() {
		return false
	}
	left := c.bucket.LeftOut()
	for _, u := range unasked {
		if !slices.ContainsFunc(left, func(err error) bool { return err.Error() == u.Error() }) {
			left = append(left, u)
		}
	}
	for _, err := range left {
		cli.Fprintf(c.err, "ctl_backups: left out: %v\n", err)
	}
	return len(left) > 0
}
