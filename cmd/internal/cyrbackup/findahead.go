package cyrbackup

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/inorder"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const (
	// searchedAtOnce is how many backups are searched at a time.
	searchedAtOnce = 8
	// bytesAhead bounds the logs that are read at a time, since states take memory. A backup with a
	// longer log is searched alone.
	bytesAhead = 8 << 20
	// framesOfEach limits the cache of frames of each search.
	framesOfEach = 4 << 20
)

// oneOfAll is a backup of many, or an error in its place.
type oneOfAll struct {
	found *repository.Found
	err   error
}

// weight is the size of the log; an unknown one counts as bytesAhead.
func (b oneOfAll) weight() int64 {
	if b.err != nil {
		return 0
	}
	if n, ok := b.found.ListedBytes(); ok {
		return n
	}
	return bytesAhead
}

// searchAll searches all backups, several at a time, and yields the result of each in order. A
// search prints and counts in all when its turn comes.
func searchAll(c *command, all *search) iter.Seq[error] {
	in := func(yield func(oneOfAll) bool) {
		for f, err := range repository.BrowseAll(c.ctx, c.bucket.Partitions) {
			if c.ctx.Err() != nil || !yield(oneOfAll{f, err}) {
				return
			}
		}
	}
	limit := inorder.Limit[oneOfAll]{Count: searchedAtOnce, Weight: bytesAhead, Of: oneOfAll.weight}
	return inorder.Map(c.ctx, limit, in, func(ctx context.Context, turn <-chan struct{}, b oneOfAll) error {
		if b.err != nil {
			return b.err
		}
		h := &cli.Held{Ctx: ctx, Turn: turn}
		one := *c
		one.ctx, one.found, one.warned, one.err = ctx, b.found.Listed(), nil, h.Writer(c.err)
		s := &search{q: all.q, frames: framesOfEach, hits: &hitsAhead{held: h, all: all.printed}}
		s.progress = func() {
			if all.progress != nil && h.MayPrint() {
				all.progress()
			}
		}
		return errors.Join(s.loaded(&one), s.join(h, all))
	})
}

// loaded loads a backup and searches it.
func (s *search) loaded(c *command) error {
	err := c.loadState()
	if errors.Is(err, history.ErrBeforeFirst) && !errors.Is(err, history.ErrNotKept) {
		return nil // the backup began later
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.found.Name(), err)
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

// join waits for the turn, prints what was held, and adds the counts to those of all backups.
func (s *search) join(h *cli.Held, all *search) error {
	err := h.Release()
	if err == nil {
		err = s.hits.flush()
	}
	if err == nil {
		all.backups++
		all.mailboxes, all.messages, all.unread = all.mailboxes+s.mailboxes, all.messages+s.messages, all.unread+s.unread
	}
	return err
}

// hitsAhead holds the hits of one backup until its turn, a batch at most.
type hitsAhead struct {
	held    *cli.Held
	all     *hits
	waiting []*hit
}

func (h *hitsAhead) add(x *hit) error {
	if !h.held.MayPrint() && len(h.waiting) < batch {
		h.waiting = append(h.waiting, x)
		return nil
	}
	if err := h.held.Release(); err != nil {
		return err
	}
	if err := h.flush(); err != nil {
		return err
	}
	return h.all.add(x)
}

// flush passes the hits on. The turn has come.
func (h *hitsAhead) flush() error {
	for len(h.waiting) > 0 {
		x := h.waiting[0]
		h.waiting = h.waiting[1:]
		if err := h.all.add(x); err != nil {
			return err
		}
	}
	return nil
}
