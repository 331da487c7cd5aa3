package main

import (
	"fmt"
	"time"

	"backupd/partitions"
	"backupd/partitions/history"
)

// list shows when each backup last changed and how large it is.
func list(c *command) error {
	return c.each(func(f *partitions.Found) error {
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

// measure walks the keys of a backup: the bytes of its log, checkpoints and blocks (not
// of packs, which backups share), and the time of its last change.
func (c *command) measure(f *partitions.Found) (last time.Time, size int64, err error) {
	var newest uint64
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
	return last, size, err
}

func (c *command) printListed(f *partitions.Found, last time.Time, size int64) error {
	when := "[unknown]"
	if !last.IsZero() {
		when = last.Local().Format(time.DateTime)
	}
	if !c.structured() {
		_, err := fmt.Fprintf(c.out, "%s\t%s\t%s\t%s\n", when, c.size(size), label(f), place(f))
		return err
	}
	return c.object(struct {
		Timestamp  string `json:"timestamp"`
		Compressed int64  `json:"compressed"`
		UserID     string `json:"userid,omitempty"`
		Path       string `json:"fname"`
	}{when, size, userID(f), place(f)})
}
