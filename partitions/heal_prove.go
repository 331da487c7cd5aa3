package partitions

import (
	"context"
	"slices"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// prove checks every object that holds messages of the backup, and marks the missing
// objects. It runs after the partition was invalidated and the state was read again from the
// bucket.
func (h *healer) prove(ctx context.Context) error {
	if err := h.listLog(ctx); err != nil {
		return err
	}
	for from, more := index.Key(nil), true; more; {
		var places []history.Place
		more = false
		err := h.view(func(st *State) error {
			return h.messages(st, from, func(k index.Key, m *history.MessageState) (bool, error) {
				places = append(places, unproven(st, m)...)
				if len(places) >= maxReused {
					from, more = append(slices.Clone(k), 0), true
				}
				return !more, nil
			})
		})
		if err != nil {
			return err
		}
		if err := h.markGone(ctx, places); err != nil {
			return err
		}
	}
	return nil
}

// listLog proves that the objects of the log exist, a thousand per request.
func (h *healer) listLog(ctx context.Context) error {
	epoch := h.part.epoch.Load()
	return await0(ctx, func() error {
		n := 0
		for info, err := range h.part.store.List(ctx, history.LogPrefix(h.b.path), "") {
			if err != nil {
				return err
			}
			if n++; n > maxProofs/2 {
				return nil // the rest is requested one by one
			}
			h.part.saw(info.Key, epoch)
		}
		return nil
	})
}

// unproven returns the places of a message whose objects were not seen recently.
func unproven(st *State, m *history.MessageState) (out []history.Place) {
	now := st.set.opt.Now()
	for _, c := range m.Chunks {
		at, err := st.place(m, c)
		if err != nil {
			continue // already lost; step handles it
		}
		if !st.part.proofs.has(objectID(at.Object), now) {
			out = append(out, at)
		}
	}
	return out
}

// markGone marks the places that cannot be read. The other backups of the partition are
// searched for these losses only if one of them may have relied on a missing object before.
func (h *healer) markGone(ctx context.Context, places []history.Place) error {
	relied := map[[32]byte]bool{}
	for _, p := range places {
		if id := objectID(p.Object); h.part.proofs.had(id) {
			relied[id] = true
		}
	}
	_, gone, err := h.part.prove(ctx, places)
	if err != nil || len(gone) == 0 {
		return err
	}
	if err := h.part.present(ctx); err != nil {
		return err
	}
	if _, gone, err = h.part.prove(ctx, places); err != nil || len(gone) == 0 {
		return err
	}
	count := slices.ContainsFunc(gone, func(l loss) bool { return relied[l.object] })
	_, err = h.part.noteLost(gone, count)
	return err
}
