package ctlbackups

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// pollErasure is how often erase --wait looks whether bodies can be removed.
const pollErasure = time.Minute

// dueErasures returns the erasures of a partition whose bodies can be removed now. It reports the
// interrupted ones, and those whose record cannot be read: complete is then false.
func (c *command) dueErasures(p repository.Config) (due []*repository.Erasure, complete bool) {
	open, err := erasure.Open(c.ctx, p)
	complete = err == nil
	if err != nil {
		cli.Fprintf(c.err, "ctl_backups: partition %s: erasures: %v\n", p.Name, err)
	}
	if len(open) == 0 {
		return nil, complete
	}
	now, err := storeclock.Certain(c.ctx, p.Store, repository.Key, c.hostNow, time.Time{})
	if err != nil {
		cli.Fprintf(c.err, "ctl_backups: partition %s: erasures: %v\n", p.Name, err)
		return nil, false
	}
	for _, e := range open {
		is, at := erasure.Due(e, now)
		switch {
		case e.InPart() && e.State != repository.ErasureDone && (is || e.Unfinished()) && !c.dryRun:
			s, begun := c.sweepHistory(p, e)
			if s.complete {
				due = append(due, s.of)
			}
			complete = complete && (s.complete || !begun)
		case is || e.State == repository.ErasureDone:
			due = append(due, e)
		case e.State == repository.ErasureRemoving && !c.dryRun:
			complete = c.resumeErasure(p, e) && complete
		case e.Unfinished():
			cli.Fprintf(c.err, "ctl_backups: partition %s: the erasure of %s was interrupted: run ctl_backups erase again\n", p.Name, nameOf(e.Of()))
			complete = false
		case c.verbose > 0:
			cli.Fprintf(c.out, "erase %s: %s: bodies are removed after %s\n", nameOf(e.Of()), p.Name, timespec.Text(at))
		}
	}
	listed, err := erasure.Listed(c.ctx, p, due)
	_, werr := erasure.Listed(c.ctx, p, waitingOf(open, due))
	if err = errors.Join(err, werr); err != nil {
		cli.Fprintf(c.err, "ctl_backups: partition %s: %v\n", p.Name, err)
	}
	return listed, complete && err == nil
}

// waitingOf returns the erasures of history that are not due, and have put a list of packs.
func waitingOf(open, due []*repository.Erasure) (out []*repository.Erasure) {
	for _, e := range open {
		if e.InPart() && (e.State == repository.ErasureRemoving || e.State == repository.ErasurePending) && !hasErasure(due, e) {
			out = append(out, e)
		}
	}
	return out
}

func hasErasure(list []*repository.Erasure, e *repository.Erasure) bool {
	return slices.ContainsFunc(list, func(x *repository.Erasure) bool { return x.ID == e.ID })
}

// resumeErasure removes copies after an interruption. A copy that is removed in part would keep
// collection from removing anything.
func (c *command) resumeErasure(p repository.Config, e *repository.Erasure) bool {
	done, err := erasure.Resume(c.ctx, p, e.Of(), c.lockOptions("erase"))
	for _, d := range done {
		if perr := c.erasedPart(d); err == nil {
			err = perr
		}
	}
	if err != nil {
		cli.Fprintf(c.err, "ctl_backups: the erasure of %s was interrupted, and cannot be continued: %v\n", nameOf(e.Of()), err)
	}
	return err == nil
}

// settleErasures ends erasures after a collection. It reports whether all of them are done.
func (c *command) settleErasures(p repository.Config, due []*repository.Erasure, r *collection.Result) (bool, error) {
	if len(due) == 0 {
		return true, nil
	}
	settled, err := erasure.Settle(c.ctx, p, due, r, c.lockOptions("erase"))
	if err != nil {
		cli.Fprintf(c.err, "ctl_backups: %v\n", err)
	}
	others := c.othersWaiting(p, due)
	done := err == nil
	for _, s := range settled {
		if err := c.erasedPart(erasure.Done{Record: erasure.Record{Partition: p.Name, Erasure: s.Erasure}}); err != nil {
			return false, err
		}
		if s.State == repository.ErasureDone {
			continue
		}
		done = false
		why := fmt.Sprintf("%s, or former versions, are left: compact -A continues", objects(s.Left, "pack"))
		if others != "" {
			why += ". Packs that it shares with the erasure of a part of " + others + " wait for that"
		}
		if text := retainedText(s.Erasure); text != "" {
			why = text
		}
		cli.Fprintf(c.err, "ctl_backups: partition %s: the erasure of %s is not complete: %s\n", p.Name, nameOf(s.Of()), why)
	}
	return done, nil
}

// othersWaiting names the backups whose erasures of history are not due, or could not be swept. Until they are, no pack of
// theirs is rewritten (erasure.Keep).
func (c *command) othersWaiting(p repository.Config, due []*repository.Erasure) string {
	open, _ := erasure.Open(c.ctx, p) // what cannot be read was reported
	var names []string
	for _, e := range open {
		if e.InPart() && e.State != repository.ErasureDone && !hasErasure(due, e) {
			names = append(names, nameOf(e.Of()))
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// eraseRest waits with --wait until the bodies can be removed, and removes them.
func (c *command) eraseRest(n repository.Name) error {
	if !c.waitErased {
		return nil
	}
	done := true
	for _, p := range c.bucket.Partitions {
		ok, err := c.eraseBodies(p, n)
		if err != nil {
			return err
		}
		done = done && ok
	}
	if !done {
		return cli.ErrReported
	}
	return nil
}

func (c *command) eraseBodies(p repository.Config, n repository.Name) (done bool, err error) {
	var due []*repository.Erasure
	complete := false
	for more := true; more; { // the rest of a history may have to wait again
		if err := c.awaitErasures(p, n); err != nil {
			return false, err
		}
		due, complete = c.dueErasures(p)
		waiting, err := c.waiting(p, n)
		if err != nil {
			return false, err
		}
		more = waiting > 0
	}
	if len(due) == 0 {
		return complete, nil
	}
	r, err := c.collectPartition(p, due, nil, nil)
	if err != nil {
		return false, err
	}
	for _, b := range append(r.Blocked, r.Kept...) {
		cli.Fprintf(c.err, "ctl_backups: partition %s: bodies stay because of %v\n", p.Name, b)
	}
	if r.Blocking > 0 { // nothing was removed
		return false, nil
	}
	done, err = c.settleErasures(p, due, r)
	return done && complete, err
}

// awaitErasures sleeps until no bodies of a backup have to wait.
func (c *command) awaitErasures(p repository.Config, n repository.Name) error {
	for {
		waiting, err := c.waiting(p, n)
		if err != nil || waiting == 0 {
			return err
		}
		if err := c.sleep(min(waiting, pollErasure)); err != nil {
			return err
		}
	}
}

// waiting returns how long the bodies of a backup have to wait; 0 = none waits.
func (c *command) waiting(p repository.Config, n repository.Name) (left time.Duration, err error) {
	open, err := erasure.Open(c.ctx, p)
	if err != nil && len(open) == 0 {
		return 0, err
	}
	for _, e := range open {
		if e.State != repository.ErasurePending || e.Backup != n.Path() {
			continue
		}
		now, err := storeclock.Certain(c.ctx, p.Store, repository.Key, c.hostNow, time.Time{})
		if err != nil {
			return 0, err
		}
		if due, at := erasure.Due(e, now); !due {
			left = max(left, at.Sub(now)+time.Second)
		}
	}
	return left, nil
}

// sleep waits for a while.
func (c *command) sleep(d time.Duration) error {
	if c.pass != nil {
		c.pass(d)
		return c.ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

// collectPartition runs a collection that also removes the bodies of erased backups, and rewrites no pack of
// erasures that wait. places chooses the backups whose old places are wanted.
func (c *command) collectPartition(p repository.Config, due []*repository.Erasure, seen *collection.Seen, places func(path string) bool) (*collection.Result, error) {
	o, err := c.collectOptions()
	o.Seen, o.Places = seen, places
	c.missingOptions(p, &o)
	if err != nil {
		return &collection.Result{}, err
	}
	o.Keep = erasure.Keep(p, due, c.hostNow)
	if len(due) > 0 {
		o.Erase = erasure.Packs(c.ctx, p, due)
		if !c.dryRun {
			if err := erasure.Sweep(c.ctx, p, due, c.lockOptions("erase")); err != nil {
				return &collection.Result{}, err
			}
		}
	}
	r, err := collection.Collect(c.ctx, p, o)
	if errors.Is(err, context.Canceled) && c.ctx.Err() != nil {
		err = c.ctx.Err()
	}
	return r, err
}
