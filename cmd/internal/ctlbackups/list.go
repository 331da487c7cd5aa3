package ctlbackups

import (
	"fmt"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// list prints the time of the last change and the size of each backup.
func list(c *command) error {
	return sideBySide(c, atOnce, c.listed(), func(c *command, b inList) error {
		last, size, err := c.summary(b)
		if err != nil {
			return fmt.Errorf("%s: %w", label(b.Found), err)
		}
		if b.indexed && size == 0 || c.stale >= 0 && c.now.Sub(last) < time.Duration(c.stale)*time.Hour {
			return nil
		}
		return c.printListed(b.Found, last, size)
	})
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
func (c *command) summary(b inList) (last time.Time, size int64, err error) {
	if b.known != nil {
		return b.known.Changed, b.known.Bytes, nil
	}
	sum, err := b.Listed().Summarize(c.ctx, c.now)
	c.doubt(b.Found, sum.Doubt)
	if b.Aside != "" && history.IsDamage(err) {
		return time.Time{}, sum.Bytes, nil // damaged backups were set aside
	}
	return sum.Changed, sum.Bytes, err
}

func (c *command) printListed(f *repository.Found, last time.Time, size int64) error {
	changed := "[unknown]"
	if !last.IsZero() {
		changed = timespec.Text(last)
	}
	if !c.structured() {
		_, err := cli.Fprintf(c.out, "%s\t%s\t%s\t%s\n", changed, c.size(size), label(f), place(f))
		return err
	}
	return c.object(struct {
		Timestamp  string `json:"timestamp"`
		Compressed int64  `json:"compressed"`
		UserID     string `json:"userid,omitempty"`
		Path       string `json:"fname"`
		SetAside   string `json:"set_aside,omitempty"` // the backup's former name
	}{changed, size, userID(f), place(f), wasOf(f)})
}

// wasOf returns the former name of a backup that was set aside; "" for others.
func wasOf(f *repository.Found) string {
	if f.Aside == "" {
		return ""
	}
	return f.Info.Name
}
