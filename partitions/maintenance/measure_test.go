package maintenance_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// The places in a checkpoint may name commits that were merged since then. The bodies count where
// they are now.
func TestMeasureAfterMerge(t *testing.T) {
	w := newWorld(t)
	anne := w.backup("anne")
	anne.days(3)
	state, err := history.Load(t.Context(), w.memory, anne.path, history.Moment{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := state.WriteCheckpoint(t.Context(), pack.Options{})
	w.must(err)
	w.must(state.Close())
	anne.flag(1)
	w.now = w.now.AddDate(0, 0, 4)
	if _, err := w.merge(w.memory, anne); err != nil {
		t.Fatal(err)
	}
	bodies := func() int64 {
		m, err := anne.found(w.memory).Listed().Measure(t.Context(), w.now, 0)
		w.must(err)
		return m.Bodies()
	}
	with := bodies()
	w.memory.Lose(history.CheckpointKey(anne.path, c.Number))
	if without := bodies(); with != without || with == 0 {
		t.Errorf("%d bytes of bodies with a checkpoint, %d without", with, without)
	}
}
