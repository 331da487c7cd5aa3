package ctlbackups

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const (
	// upkeepWait is how long hold waits for a program that is removing something.
	upkeepWait = 3 * time.Minute
	// upkeepShown is how long it waits before it reports that. A lease needs two looks, a
	// second apart, to have ended.
	upkeepShown = 3 * time.Second
)

// hold places a hold on backups: no program on any host removes anything from them any more.
func hold(c *command) error {
	x := repository.Hold{Kind: repository.HoldPlaced, By: c.person(), Reason: c.reason, Until: c.end}
	return c.each(func(f *repository.Found) error {
		err := c.holdOne(f, x)
		c.tally.add(repository.Copied{}, err)
		if perr := c.status("hold", f, err); perr != nil || err == nil {
			return perr
		}
		cli.Fprintf(c.err, "ctl_backups: %s: %v\n", label(f), err)
		return errors.Join(cli.ErrReported, c.ctx.Err())
	})
}

// holdOne places a hold, and waits until no program can be removing anything without having
// seen it. A program that moves the backup meanwhile may have missed the hold, so it is
// checked where the backup is then.
func (c *command) holdOne(f *repository.Found, x repository.Hold) error {
	for range 3 {
		if err := f.PlaceHold(c.ctx, x, c.clock); err != nil {
			return err
		}
		if err := c.awaitUpkeep(f); err != nil {
			return fmt.Errorf("the hold is in place, but nobody knows whether a program that runs has seen it: repeat hold: %w", err)
		}
		if f.Aside != "" {
			return f.StillAside(c.ctx)
		}
		now, err := repository.Find(c.ctx, c.bucket.Partitions, f.Name())
		if err != nil {
			return fmt.Errorf("the backup was moved, set aside or erased meanwhile: %w", err)
		}
		if now.Partition.Name == f.Partition.Name && now.Info.ID == f.Info.ID {
			return nil
		}
		f = now
	}
	return errors.New("the backup was moved several times meanwhile: repeat hold")
}

// awaitUpkeep waits until no program merges, removes or moves objects of the backup.
func (c *command) awaitUpkeep(f *repository.Found) error {
	o := c.lockOptions("hold")
	err := c.awaitFor(f, o, upkeepShown)
	if !errors.Is(err, repository.ErrUpkeep) || c.ctx.Err() != nil {
		return err
	}
	cli.Fprintf(c.err, "ctl_backups: waiting: %v\n", err)
	if c.wait {
		return repository.AwaitUpkeep(c.ctx, f, o)
	}
	return c.awaitFor(f, o, upkeepWait)
}

func (c *command) awaitFor(f *repository.Found, o repository.LockOptions, d time.Duration) error {
	ctx, cancel := context.WithTimeout(c.ctx, d)
	defer cancel()
	return repository.AwaitUpkeep(ctx, f, o)
}

// release ends holds of backups, and prints them.
func release(c *command) error {
	return c.each(func(f *repository.Found) error {
		ended, err := repository.Release(c.ctx, c.bucket.Partitions, f, c.clock, c.ends)
		c.tally.add(repository.Copied{}, err)
		if err := c.released(f, ended, err); err != nil {
			return err
		}
		if err != nil {
			return errors.Join(cli.ErrReported, c.ctx.Err())
		}
		return nil
	})
}

// ends reports whether release ends a hold.
func (c *command) ends(x repository.Hold) bool {
	switch {
	case c.tripwire:
		return x.Kind == repository.HoldTripwire
	case c.reason != "":
		return x.Kind == repository.HoldPlaced && x.Reason == c.reason
	}
	return true
}

// checkRelease checks the options of release. Of many backups, it ends all holds only on request:
// one may be a legal hold of another person.
func (c *command) checkRelease() error {
	c.reason = strings.Join(strings.Fields(c.reason), " ")
	switch {
	case c.tripwire && c.reason != "":
		return cli.Usagef("only one of --tripwire and --reason can be given")
	case c.many() && !c.tripwire && c.reason == "" && !c.yes:
		return cli.Usagef("which holds of these backups? --reason TEXT ends those with this reason, --tripwire those of the tripwire, and --yes every hold, including legal holds; ctl_backups list --holds shows them")
	}
	return nil
}

func (c *command) released(f *repository.Found, ended []repository.Hold, err error) error {
	if c.structured() && err == nil {
		return c.object(struct {
			Command string            `json:"command"`
			UserID  string            `json:"userid,omitempty"`
			Path    string            `json:"fname"`
			Status  string            `json:"status"`
			Ended   []repository.Hold `json:"ended"`
		}{"release", userID(f), place(f), "ok", append([]repository.Hold{}, ended...)})
	}
	if perr := c.status("release", f, err); perr != nil || err != nil {
		return perr
	}
	if len(ended) == 0 {
		text := "it was not on hold"
		if c.tripwire || c.reason != "" {
			text = "it had no such hold"
		}
		_, err := cli.Fprintf(c.out, "  %s\n", text)
		return err
	}
	for _, x := range ended {
		if _, err := cli.Fprintf(c.out, "  ended: %s\n", x.Text()); err != nil {
			return err
		}
	}
	return nil
}

// person returns who runs the program, for people.
func (c *command) person() string {
	name := fmt.Sprintf("uid %d", os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if by := os.Getenv("SUDO_USER"); by != "" {
		name = by + " (as " + name + ")"
	}
	return name + " on " + c.host
}

// checkHold checks the options of hold.
func (c *command) checkHold() error {
	c.reason = strings.Join(strings.Fields(c.reason), " ")
	if c.until == "" {
		return nil
	}
	at, err := timespec.Future(c.until, c.now)
	if err != nil {
		return cli.Usagef("--until: %v", err)
	}
	if at.Note != "" {
		cli.Fprintf(c.err, "ctl_backups: --until: %s\n", at.Note)
	}
	c.end = at.UTC()
	return nil
}
