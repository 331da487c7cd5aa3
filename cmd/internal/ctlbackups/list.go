package ctlbackups

import (
	"fmt"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// list prints the time of the last change and the size of each backup.
func list(c *command) error {
	return sideBySide(c, atOnce, c.listed(), func(c *command, b inList) error {
		if c.holds && !b.mayBeHeld() {
			return nil
		}
		sum, err := c.summary(b)
		if err != nil {
			return fmt.Errorf("%s: %w", label(b.Found), err)
		}
		if b.indexed && sum.Bytes == 0 || c.stale >= 0 && c.now.Sub(sum.Changed) < time.Duration(c.stale)*time.Hour {
			return nil
		}
		holds, err := c.held(b.Found, sum.Held)
		if err != nil {
			return fmt.Errorf("%s: %w", label(b.Found), err)
		}
		if c.holds && len(holds) == 0 {
			return nil
		}
		return c.printListed(b.Found, sum, holds)
	})
}

// mayBeHeld returns false if the list shows that the backup has no holds.
func (b inList) mayBeHeld() bool {
	if b.known != nil {
		return b.known.Held
	}
	return b.ListedHolds()
}

// listed returns the chosen backups: if there may be many, from the daemon's index. With -A and
// without -t it also returns the backups set aside, from the bucket.
func (c *command) listed() iter.Seq2[inList, error] {
	return func(yield func(inList, error) bool) {
		backups := inBucket(c.chosen())
		if c.many() && !c.fromBucket {
			backups = c.inIndex("list")
		}
		for b, err := range backups {
			if !yield(b, err) {
				return
			}
		}
		if c.mode != modeAll || c.stale >= 0 {
			return
		}
		for _, p := range c.bucket.Partitions {
			for b, err := range inBucket(repository.BrowseAside(c.ctx, p)) {
				if !yield(b, err) {
					return
				}
			}
		}
	}
}

// summary returns the time of the last change of a backup, and the bytes of its log, checkpoints
// and blocks (not of packs, which backups share).
func (c *command) summary(b inList) (repository.Summary, error) {
	if b.known != nil {
		return repository.Summary{Changed: b.known.Changed, Bytes: b.known.Bytes, Held: b.known.Held}, nil
	}
	sum, err := b.Listed().Summarize(c.ctx, c.now)
	c.doubt(b.Found, sum.Doubt)
	if b.Aside != "" && history.IsDamage(err) {
		sum.Changed, err = time.Time{}, nil // damaged backups were set aside
	}
	return sum, err
}

func (c *command) printListed(f *repository.Found, sum repository.Summary, holds []repository.Hold) error {
	changed := "[unknown]"
	if !sum.Changed.IsZero() {
		changed = timespec.Text(sum.Changed)
	}
	if !c.structured() {
		return c.row(holds, "%s\t%s\t%s\t%s", changed, c.size(sum.Bytes), label(f), place(f))
	}
	return c.object(struct {
		Timestamp  string            `json:"timestamp"`
		Compressed int64             `json:"compressed"`
		UserID     string            `json:"userid,omitempty"`
		Path       string            `json:"fname"`
		SetAside   string            `json:"set_aside,omitempty"` // the backup's former name
		Holds      []repository.Hold `json:"holds,omitempty"`
	}{changed, sum.Bytes, userID(f), place(f), wasOf(f), holds})
}

// wasOf returns the former name of a backup that was set aside; "" for others.
func wasOf(f *repository.Found) string {
	if f.Aside == "" {
		return ""
	}
	return f.Info.Name
}
