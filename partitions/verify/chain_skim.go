package verify

import (
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// skim checks each commit on its own where the chain is broken, and collects the bridges
// in them.
func (c *chain) skim(from, to uint64) error {
	w := c.w
	for n := from; n <= to; n++ {
		next := w.log.next(n)
		if next == 0 || next > to {
			next = to + 1
		}
		if next > n {
			w.log.add(n, next-1, history.LogKey(w.f.Path, n), fmt.Errorf("%s: %w", history.LostRange{From: n, To: next - 1, Reason: lostMissing}, history.ErrAbsent))
			n = next - 1
			continue
		}
		if err := c.skimOne(n); err != nil {
			if !history.IsDamage(err) || w.ctx.Err() != nil {
				return err
			}
			w.log.add(n, n, history.LogKey(w.f.Path, n), err)
		}
	}
	return nil
}

func (c *chain) skimOne(n uint64) error {
	for r, err := range c.w.f.Log().Commits(c.w.ctx, n, n) {
		if err != nil {
			return err
		}
		for e, err := range r.Events() {
			if err != nil {
				return err
			}
			if e, ok := e.(*history.BridgedEvent); ok {
				c.w.log.known = append(c.w.log.known, e.Lost...)
			}
		}
	}
	return nil
}
