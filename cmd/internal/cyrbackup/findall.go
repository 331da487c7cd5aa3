package cyrbackup

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// findEverywhere searches all backups, one after the other, and holds the state of one at a
// time. A damaged backup is reported; the search continues.
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
	for f, err := range repository.BrowseAll(c.ctx, c.bucket.Partitions) {
		if err == nil {
			backups++
			err = s.oneOfAll(c, f)
		}
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
func (s *search) oneOfAll(all *command, f *repository.Found) error {
	c := *all
	c.found, c.warned = f.Listed(), nil
	incomplete, err := c.loadFound()
	if errors.Is(err, history.ErrBeforeFirst) {
		return nil // the backup began later
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	defer c.mem.Close()
	if err := s.backup(&c); err != nil {
		if errors.Is(err, errEnough) {
			return err
		}
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	if incomplete != nil {
		return fmt.Errorf("%s: %w", f.Name(), incomplete)
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
