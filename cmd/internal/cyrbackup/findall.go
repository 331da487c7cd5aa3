package cyrbackup

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
)

// findEverywhere searches all backups, several at a time. A damaged backup is reported; the search
// continues.
func findEverywhere(c *command) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	all := newSearch(q, newHits(c, true))
	bar := newCounter(c.err)
	c.err = bar
	failed := false
	all.progress = func() { bar.show(all) }
	for err := range searchAll(c, all) {
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
		if err := all.printed.inTime(bar.clear); err != nil {
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
	if err := all.end(c, english.Plural(all.backups, "backup", "")); err != nil {
		return err
	}
	if failed {
		return cli.ErrReported
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

func (b *counter) show(s *search) {
	if b.raw == nil || time.Now().Before(b.next) {
		return
	}
	b.next = time.Now().Add(200 * time.Millisecond)
	b.shown = true
	fmt.Fprintf(b.raw, "\r\x1b[Kbackup %d: %s found in %s", s.backups+1, english.Plural(s.printed.shown, "message", ""), english.Plural(s.messages, "message", ""))
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
