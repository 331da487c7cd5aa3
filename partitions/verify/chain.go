package verify

import (
	"errors"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// chain follows the log from commit to commit.
type chain struct {
	w           *verifier
	m           *history.Mem // the state so far; nil: no checkpoint allowed to continue
	checkpoints []uint64     // to compare, ascending
	newest      uint64
}

func (c *chain) begin(first uint64) error {
	w := c.w
	w.step("checking the chain of commits %d to %d", first, c.newest)
	numbers, err := w.f.Log().Checkpoints(w.ctx)
	if err != nil {
		return err
	}
	for i := len(numbers) - 1; i >= 0; i-- {
		c.checkpoints = append(c.checkpoints, numbers[i])
	}
	if first <= 1 {
		c.m, err = history.NewMem(w.ctx, w.f.Partition.Store, w.f.Path)
		return err
	}
	if err := c.checkRetained(first); err != nil {
		return err
	}
	if err := c.readKept(first); err != nil {
		return err
	}
	return c.resume(first)
}

// readKept reads the checkpoints from before the log: the single moments that retention keeps.
func (c *chain) readKept(first uint64) error {
	for len(c.checkpoints) > 0 && c.checkpoints[0]+1 < first {
		m, err := c.read(c.checkpoints[0])
		if m != nil {
			err = errors.Join(err, m.Close())
		}
		if err != nil {
			return err
		}
		c.checkpoints = c.checkpoints[1:]
	}
	return nil
}

// resume continues at the first usable checkpoint if the chain breaks at commit n.
func (c *chain) resume(n uint64) error {
	c.m = nil
	for len(c.checkpoints) > 0 {
		at := c.checkpoints[0]
		c.checkpoints = c.checkpoints[1:]
		if at+1 < n {
			continue
		}
		m, err := c.continuing(at)
		if err == nil && m != nil {
			err = c.skim(n, at)
		}
		if m != nil || err != nil {
			c.m = m
			return err
		}
	}
	if err := c.skim(n, c.newest); err != nil {
		return err
	}
	c.w.log.unchecked = n
	return nil
}

// continuing reads a checkpoint that the log may continue. It reports any other, and returns nil.
func (c *chain) continuing(n uint64) (*history.Mem, error) {
	m, err := c.read(n)
	if err != nil || m == nil {
		return nil, err
	}
	other, err := c.w.f.Log().Contradicts(c.w.ctx, m.Tip())
	if err == nil && !other {
		return m, nil
	}
	if err == nil && n <= c.newest { // beyond reports the others
		c.w.diagnosis.wrong(n)
		c.w.problem(Problem{Object: history.CheckpointKey(c.w.f.Path, n), Text: "the checkpoint is of another log: readers ignore it"})
	}
	return nil, errors.Join(err, m.Close())
}

// read reads a checkpoint with all its blocks. It reports damage and then returns nil.
func (c *chain) read(n uint64) (*history.Mem, error) {
	w := c.w
	key := history.CheckpointKey(w.f.Path, n)
	m, err := history.ReadCheckpoint(w.ctx, w.f.Partition.Store, w.f.Path, n)
	if err != nil {
		w.diagnosis.checkpoint(n)
		return nil, w.damage(key, err)
	}
	w.done.Checkpoints++
	bad := false
	err = m.CheckBlocks(w.ctx, w.seen, func(object string, err error) {
		bad = true
		w.blocks[object] = false // for all other checkpoints that refer to it
		w.problem(Problem{Object: object, Text: err.Error()})
	})
	// A repair removes damaged objects, with the sound blocks in them.
	if bad || m.NamesBlocksIn(w.unsound) {
		w.diagnosis.checkpoint(n)
	}
	if err != nil || bad {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// follow replays the log, and compares checkpoints on the way.
func (c *chain) follow() error {
	w := c.w
	for c.m != nil && c.m.Tip().Number < c.newest {
		var failed error
		for r, err := range w.f.Log().CommitsAfter(w.ctx, c.m.Tip(), c.newest) {
			if err == nil {
				err = c.m.Apply(r)
			}
			if err != nil {
				failed = err
				break
			}
			w.done.Commits++
			if err := c.compare(); err != nil {
				return err
			}
		}
		w.log.known = append(w.log.known, c.m.Bridged()...)
		if failed == nil {
			break
		}
		if !history.IsDamage(failed) || w.ctx.Err() != nil {
			return failed
		}
		n := c.m.Tip().Number + 1
		if !errors.Is(failed, history.ErrAbsent) { // skim reports missing commits as a range
			w.log.add(n, n, history.LogKey(w.f.Path, n), failed)
		}
		if err := errors.Join(c.m.Close(), c.resume(n)); err != nil {
			return err
		}
	}
	if c.m == nil {
		return nil
	}
	return c.m.Close()
}

// compare compares the state with the checkpoint of the newest replayed commit, if there
// is one.
func (c *chain) compare() error {
	n := c.m.Tip().Number
	for len(c.checkpoints) > 0 && c.checkpoints[0] < n {
		c.checkpoints = c.checkpoints[1:]
	}
	if len(c.checkpoints) == 0 || c.checkpoints[0] != n {
		return nil
	}
	m, err := c.read(n)
	if err != nil || m == nil {
		return err
	}
	defer m.Close()
	diff, err := m.Difference(c.m)
	if err != nil {
		c.w.diagnosis.checkpoint(n)
		return c.w.damage(history.CheckpointKey(c.w.f.Path, n), err)
	}
	if diff != "" {
		c.w.diagnosis.wrong(n)
		c.w.problem(Problem{Object: history.CheckpointKey(c.w.f.Path, n), Text: "the checkpoint differs from the state of the log: " + diff})
	}
	return nil
}
