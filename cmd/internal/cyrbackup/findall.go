package cyrbackup

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// findEverywhere searches all backups, one after the other, and reads some states ahead. A damaged backup is reported; the search continues.
func findEverywhere(c *command) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	s := &search{q: q, hits: newHits(c, true)}
	bar := newCounter(c.err)
	c.err = bar
	backups, failed := 0, false
	s.progress = func() { bar.show(backups, s) }
	for b := range loadedAhead(c) {
		if b.err == nil {
			backups++
		}
		err := s.oneOfAll(b)
		if c.ctx.Err() != nil {
			bar.clear()
			return c.ctx.Err()
		}
		if errors.Is(err, errEnough) {
			break
		}
		if err != nil {
			failed = true
			if !errors.Is(err, cli.ErrReported) {
				cli.Fprintf(c.err, "cyr_backup: %v\n", err)
			}
		}
		if err := s.hits.inTime(bar.clear); err != nil {
			return err
		}
	}
	bar.clear()
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	for _, err := range c.bucket.LeftOut() {
		cli.Fprintf(c.err, "cyr_backup: left out: %v\n", err)
		failed = true
	}
	if err := s.end(c, english.Plural(backups, "backup", "")); err != nil {
		return err
	}
	if failed {
		return cli.ErrReported
	}
	return nil
}

// oneOfAll searches one backup of many.
func (s *search) oneOfAll(b loadedBackup) error {
	if b.err != nil {
		return b.err
	}
	c := b.c
	if errors.Is(b.unread, history.ErrBeforeFirst) {
		return nil // the backup began later
	}
	if b.unread != nil {
		return fmt.Errorf("%s: %w", c.found.Name(), b.unread)
	}
	defer c.mem.Close()
	incomplete := c.incomplete()
	if err := s.backup(c); err != nil {
		if errors.Is(err, errEnough) {
			return err
		}
		return fmt.Errorf("%s: %w", c.found.Name(), err)
	}
	if incomplete != nil {
		return fmt.Errorf("%s: %w", c.found.Name(), incomplete)
	}
	return nil
}

// counter shows the progress of a search on a terminal, in one line that other output
// replaces.
type counter struct {
	w     io.Writer // of messages
	raw   io.Writer // the terminal; nil = none
	next  time.Time
	shown bool
}

func newCounter(w io.Writer) *counter { return &counter{w: w, raw: cli.Terminal(w)} }

func (b *counter) show(backups int, s *search) {
	if b.raw == nil || time.Now().Before(b.next) {
		return
	}
	b.next = time.Now().Add(200 * time.Millisecond)
	b.shown = true
	fmt.Fprintf(b.raw, "\r\x1b[Kbackup %d: %s found in %s", backups, english.Plural(s.hits.shown, "message", ""), english.Plural(s.messages, "message", ""))
}

func (b *counter) clear() {
	if b.shown {
		b.shown = false
		fmt.Fprint(b.raw, "\r\x1b[K")
	}
}

// Write writes a message instead of the counter.
func (b *counter) Write(p []byte) (int, error) {
	b.clear()
	return b.w.Write(p)
}
