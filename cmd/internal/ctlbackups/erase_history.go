package ctlbackups

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// checkBefore reads --before. Commits are stored by day (UTC), so the history ends at the end of one.
func (c *command) checkBefore() error {
	if c.before == "" {
		return nil
	}
	m, err := timespec.Past(c.before, c.now)
	if err != nil {
		return cli.Usagef("--before: %v", err)
	}
	const day = 24 * time.Hour
	if c.history = m.UTC().Truncate(day); c.history.Before(m.Time) {
		c.history = c.history.Add(day)
	}
	return nil
}

// eraseHistory removes the history of a backup before a time.
func (c *command) eraseHistory(arg string, t *eraseTotals) error {
	s, err := c.historySurveyed(arg)
	if err != nil {
		return err
	}
	if s.Held != nil {
		return s.Held
	}
	o, err := c.forgetOptions(s.Found.Partition)
	if err != nil {
		return err
	}
	if last := o.Merge.Before; s.Until.After(last) {
		return fmt.Errorf("changes stay for at least %s: the time must not be after %s", o.LogMinAge, timespec.Text(last))
	}
	if c.dryRun {
		return c.showHistory(s)
	}
	if err := c.agreed(s); err != nil {
		return err
	}
	if err := c.confirmed(s.Found.Name(), "erase it", func() error { return c.showHistory(s) }); err != nil {
		return err
	}
	if c.yes {
		if err := c.showHistory(s); err != nil {
			return err
		}
	}
	o.Until = s.Until
	done, err := erasure.EraseHistory(c.ctx, s, erasure.HistoryOptions{By: c.person(), Reason: c.reason, Forget: o})
	if done != nil {
		t.objects += done.Objects
		t.bytes += done.Bytes
		t.packs += done.Packs
		if perr := c.erasedPart(*done); perr != nil {
			return errors.Join(err, perr)
		}
	}
	if err != nil {
		return err
	}
	t.backups++
	return c.eraseRest(s.Found.Name())
}

// agreed returns an error if --yes is not an answer to the question: an interrupted erasure has a later time, or perhaps
// another backup.
func (c *command) agreed(s *erasure.HistorySurvey) error {
	if i := s.Interrupted; c.yes && i != nil && i.State == repository.ErasureRemoving && !s.Until.Equal(c.history) {
		return fmt.Errorf("an interrupted erasure has begun to remove the history before %s, which is later: run erase with that time, or without --yes", timespec.Text(s.Until))
	}
	return c.agreedTo(s.Found, s.Interrupted, s.ListLost)
}

// agreedTo returns an error if --yes is not an answer to the question about an interrupted erasure of a part.
func (c *command) agreedTo(f *repository.Found, interrupted *repository.Erasure, listLost bool) error {
	switch {
	case !c.yes || interrupted == nil || interrupted.State != repository.ErasureRemoving:
		return nil
	case !interrupted.Concerns(f):
		return errors.New("its backup.json was rewritten since an erasure of a part of it was interrupted: run erase without --yes, and continue only if it is the same backup")
	case listLost:
		return errors.New("its list of packs is lost, so that every pack of the partition would be rewritten: run erase without --yes")
	}
	return nil
}

// showInterrupted prints an interrupted erasure of a part.
func (c *command) showInterrupted(f *repository.Found, e *repository.Erasure, listLost bool) error {
	name := nameOf(f.Name())
	if e != nil {
		if _, err := cli.Fprintf(c.out, "erase %s: %s: %s\n", name, f.Partition.Name, recordText(e)); err != nil {
			return err
		}
		if !e.Concerns(f) {
			if _, err := cli.Fprintf(c.out, "erase %s: its backup.json was rewritten since that erasure began: continue only if it is the same backup\n", name); err != nil {
				return err
			}
		}
	}
	if listLost {
		_, err := cli.Fprintf(c.out, "erase %s: its list of packs is lost: every pack of partition %s is rewritten, in one night, and former messages in them have to be sent again\n", name, f.Partition.Name)
		return err
	}
	return nil
}

func (c *command) historySurveyed(arg string) (found *erasure.HistorySurvey, err error) {
	err = c.oneBackup(arg, func(n repository.Name) (*repository.Found, error) {
		s, err := erasure.LookAtHistory(c.ctx, c.bucket.Partitions, n, c.history, c.hostNow)
		if err != nil {
			return nil, err
		}
		found = s
		return s.Found, nil
	})
	return found, err
}

// oneBackup calls look for each backup that an argument may mean. It returns an error if there is not exactly one.
func (c *command) oneBackup(arg string, look func(repository.Name) (*repository.Found, error)) error {
	names, err := c.bucket.WholeNames(c.single(), arg)
	if err != nil {
		return err
	}
	var found *repository.Found
	for _, n := range names {
		f, err := look(n)
		switch {
		case errors.Is(err, repository.ErrNoBackup):
		case err != nil:
			return err
		case found != nil:
			return fmt.Errorf("it may mean %s or %s: give the path, %s or %s, with -f", found.Name(), n, found.Path, n.Path())
		default:
			found = f
		}
	}
	if found == nil {
		return fmt.Errorf("not found: %w (erase takes whole backups: a userid, or with -m an INBOX or a top-level mailbox)", repository.ErrNoBackup)
	}
	return nil
}

// forgetOptions are the options of package maintenance for an erasure of history.
func (c *command) forgetOptions(p repository.Config) (o maintenance.ForgetOptions, err error) {
	conf := c.bucket.Conf
	level, err := pack.ParseLevel(conf.Word("backup_compression"))
	if err != nil {
		return o, err
	}
	r, err := newRetention(c, level, "erase")
	if err != nil {
		return o, err
	}
	repo, err := repository.ReadInfo(c.ctx, p.Store)
	if err != nil {
		return o, err
	}
	now, err := storeclock.Certain(c.ctx, p.Store, repository.Key, c.hostNow, time.Time{})
	if err != nil {
		return o, err
	}
	return maintenance.ForgetOptions{RetainOptions: r.options, Merge: maintenance.MergeOptions{Pack: r.options.Pack, PackSize: conf.Size("backup_pack_size"),
		Before: maintenance.LastDay(now, r.options.LogMinAge), Private: repo.Dedup == "backup"}}, nil
}

// showHistory prints what would be erased.
func (c *command) showHistory(s *erasure.HistorySurvey) error {
	n := s.Found.Name()
	if c.structured() {
		return c.object(struct {
			Command  string              `json:"command"`
			Name     string              `json:"name"`
			Path     string              `json:"fname"`
			Before   time.Time           `json:"before"`
			Reach    repository.Reach    `json:"reach"`
			Messages int                 `json:"messages"`
			Bytes    int64               `json:"bytes"`
			Record   *repository.Erasure `json:"interrupted,omitempty"`
			ListLost bool                `json:"list_lost,omitempty"`
		}{"erase", nameOf(n), place(s.Found), s.Until, s.Reach, s.Messages, s.Bytes, s.Interrupted, s.ListLost})
	}
	if err := c.showInterrupted(s.Found, s.Interrupted, s.ListLost); err != nil {
		return err
	}
	if !s.Until.Equal(c.history) {
		if _, err := cli.Fprintf(c.out, "erase %s: that erasure is completed first, with its own time, instead of %s\n", nameOf(n), timespec.Text(c.history)); err != nil {
			return err
		}
	}
	lost := "nothing: the backup reaches back to " + timespec.Text(s.Reach.First)
	if s.Reach.First.Before(s.Until) {
		lost = fmt.Sprintf("every moment from %s on", timespec.Text(s.Reach.First))
		if s.Reach.Single > 0 {
			lost += fmt.Sprintf(" (before %s: %s)", timespec.Text(s.Reach.Every), objects(int64(s.Reach.Single), "single moment"))
		}
	}
	_, err := cli.Fprintf(c.out, "erase %s: %s: before %s: %s; %s (%s) that the user deleted before that time; mail that the user still had then stays\n",
		nameOf(n), place(s.Found), timespec.Text(s.Until), lost, objects(int64(s.Messages), "message"), binary(s.Bytes))
	return err
}

// swept are the erasures of history that were due before retention, by partition and id.
type swept map[string]sweep

// sweep is the sweep of an erasure.
type sweep struct {
	of       *repository.Erasure // as it was then: another host may change it until the collection
	complete bool                // its packs can be collected
}

// sweepHistories removes the rest of erased history. It comes before retention, see
// erasure.SweepHistory.
func (c *command) sweepHistories() {
	if c.mode != modeAll || c.dryRun {
		return
	}
	c.swept = swept{}
	for _, p := range c.bucket.Partitions {
		open, _ := erasure.Open(c.ctx, p) // the collection reports records that cannot be read
		open = slices.DeleteFunc(open, func(e *repository.Erasure) bool { return !e.InPart() || e.State == repository.ErasureDone })
		if len(open) == 0 {
			continue
		}
		now, err := storeclock.Certain(c.ctx, p.Store, repository.Key, c.hostNow, time.Time{})
		if err != nil {
			continue // the collection reports it
		}
		for _, e := range open {
			if is, _ := erasure.Due(e, now); is || e.Unfinished() {
				c.swept[p.Name+"/"+e.ID] = sweep{e, c.sweepNow(p, e)}
			}
		}
	}
}

// sweepHistory returns the sweep of an erasure of history, and whether it was due before retention. Otherwise it waits
// for the next run.
func (c *command) sweepHistory(p repository.Config, e *repository.Erasure) (s sweep, due bool) {
	if c.swept != nil {
		s, due = c.swept[p.Name+"/"+e.ID]
		return s, due
	}
	return sweep{e, c.sweepNow(p, e)}, true
}

func (c *command) sweepNow(p repository.Config, e *repository.Erasure) bool {
	o, err := c.forgetOptions(p)
	var swept maintenance.Swept
	if err == nil {
		swept, err = erasure.SweepHistory(c.ctx, p, e, o)
	}
	switch {
	case err != nil:
		c.unswept = true
		cli.Fprintf(c.err, "ctl_backups: partition %s: erasure of %s of %s: %v\n", p.Name, partText(e), nameOf(e.Of()), err)
	case !swept.Complete():
		until := ""
		if !swept.Until.IsZero() {
			until = " until " + timespec.Text(swept.Until)
		}
		cli.Fprintf(c.err, "ctl_backups: partition %s: erasure of %s of %s: waiting%s: %s: compact -A continues then\n",
			p.Name, partText(e), nameOf(e.Of()), until, swept.Waiting)
	}
	return err == nil && swept.Complete()
}
