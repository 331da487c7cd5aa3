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
	return c.sideBySide(atOnce, c.listed(), func(c *command, f *repository.Found) error {
		last, size, err := c.measure(f)
		if err != nil {
			return fmt.Errorf("%s: %w", label(f), err)
		}
		if c.stale >= 0 && c.now.Sub(last) < time.Duration(c.stale)*time.Hour {
			return nil
		}
		return c.printListed(f, last, size)
	})
}

// listed returns the chosen backups; with -A and without -t also the backups set aside.
func (c *command) listed() iter.Seq2[*repository.Found, error] {
	return func(yield func(*repository.Found, error) bool) {
		for f, err := range c.chosen() {
			if !yield(f, err) {
				return
			}
		}
		if c.mode != modeAll || c.stale >= 0 {
			return
		}
		for _, p := range c.bucket.Partitions {
			for f, err := range repository.BrowseAside(c.ctx, p) {
				if !yield(f, err) {
					return
				}
			}
		}
	}
}

// measure walks the keys of a backup: the bytes of its log, checkpoints and blocks (not
// of packs, which backups share), and the time of its last change.
func (c *command) measure(f *repository.Found) (last time.Time, size int64, err error) {
	var newest uint64
	f = f.Listed()
	for info, err := range f.Partition.Store.List(c.ctx, "backups/"+f.Path+"/", "") {
		if err != nil {
			return last, size, err
		}
		size += info.Size
		if _, to, ok := history.ParseLogKey(f.Path, info.Key); ok {
			newest = max(newest, to)
		}
	}
	last, err = c.lastChange(f, newest)
	if f.Aside != "" && history.IsDamage(err) {
		return time.Time{}, size, nil // damaged backups were set aside
	}
	return last, size, err
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
