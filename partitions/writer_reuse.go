package partitions

import (
	"context"
	"errors"
	"slices"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// maxReused limits the messages that are proven at once.
const maxReused = 4096

// Reuse handles a new record of a message that the backup knows from another record: a copy,
// or a message that was moved to another mailbox. Its places are proven before the commit.
func (w *Writer) Reuse(ctx context.Context, m *Message) error {
	known := m.ours
	known.Chunks = slices.Clone(known.Chunks) // a later lookup reuses the memory of m
	if w.reused = append(w.reused, known); len(w.reused) < maxReused {
		return nil
	}
	return w.proveReused(ctx)
}

// proveReused proves the places of the messages that Reuse has gathered.
func (w *Writer) proveReused(ctx context.Context) error {
	if len(w.reused) == 0 {
		return nil
	}
	var at []history.Place
	var nowhere []history.ChunkID
	now := w.b.set.opt.Now()
	err := w.b.View(func(st *State) error {
		for i := range w.reused {
			for _, c := range w.reused[i].Chunks {
				p, err := st.place(&w.reused[i], c)
				if errors.Is(err, history.ErrNoPlace) {
					nowhere = append(nowhere, c)
					continue
				}
				if err != nil {
					return err
				}
				w.names([]history.Place{p}, true)
				if !st.part.proofs.has(objectID(p.Object), now) {
					at = append(at, p)
				}
			}
		}
		return nil
	})
	switch {
	case err == nil && len(nowhere) > 0:
		err = w.b.part.withoutPlace(nowhere)
	case err == nil:
		_, err = w.certain(ctx, at, true)
	}
	w.reused = w.reused[:0]
	return err
}
