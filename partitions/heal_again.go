package partitions

import (
	"context"
	"errors"
	"slices"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// returned asks the store again for objects that are marked absent, before a loss is
// recorded. It returns errAgain if some of them exist again.
func (h *healer) returned(ctx context.Context, lost []*history.MessageState) error {
	var ask []history.Place
	for _, m := range lost {
		for _, c := range m.Chunks {
			places, err := h.placesOf(ctx, m, c)
			if err != nil {
				return err
			}
			ask = append(ask, places...)
		}
	}
	absent, err := h.part.absent(ctx, ask)
	if err != nil {
		return err
	}
	var found [][32]byte
	err = h.view(func(st *State) error {
		for _, p := range ask {
			id := objectID(p.Object)
			if absent[p.Object] || slices.Contains(found, id) {
				continue
			}
			how, err := st.t.Get(index.LostKey(h.part.name, id[:]))
			if err == nil && how[0] == lossAbsent {
				found = append(found, id)
			} else if err != nil && !errors.Is(err, index.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	if err != nil || len(found) == 0 {
		return err
	}
	return errors.Join(h.part.noteFound(found), errAgain)
}

// placesOf returns the places of a chunk in the log and in the index, including lost places.
func (h *healer) placesOf(ctx context.Context, m *history.MessageState, c history.ChunkID) ([]history.Place, error) {
	places, err := h.log.of(ctx, h.b, c)
	if err != nil {
		return nil, err
	}
	err = h.view(func(st *State) error {
		if at, ok, err := h.part.chunkAt(st.t, sole(m.GUID, m.Chunks), c); err != nil || ok {
			places = append(slices.Clip(places), at.place(c))
			return err
		}
		return nil
	})
	return places, err
}
