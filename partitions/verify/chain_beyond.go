package verify

import (
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// beyond checks the checkpoints of commits after the newest one in the log. Either the log has lost
// these commits, or the request to put the checkpoint has arrived in another log.
func (c *chain) beyond() error {
	w := c.w
	newest, list, err := w.f.Log().Beyond(w.ctx, c.newest)
	if err != nil {
		return w.damage(history.CheckpointPrefix(w.f.Path), err)
	}
	for _, b := range list {
		key := history.CheckpointKey(w.f.Path, b.Number)
		if b.Contradicted {
			w.diagnosis.wrong(b.Number)
			w.problem(Problem{Object: key, Text: fmt.Sprintf("the checkpoint is of another log: this one ends with commit %d, which is newer. Readers ignore the checkpoint", newest)})
			continue
		}
		m, err := c.read(b.Number)
		if err != nil {
			return err
		}
		if m == nil {
			continue // reported as damaged
		}
		if err := m.Close(); err != nil {
			return err
		}
		missing := history.LogKey(w.f.Path, newest+1)
		w.log.add(newest+1, b.Number, missing, fmt.Errorf("the log ends with commit %d, and a checkpoint is of commit %d: %w", newest, b.Number, history.ErrAbsent))
		return nil // older ones are of a part of these commits
	}
	return nil
}
