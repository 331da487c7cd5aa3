package partitions

import (
	"context"
	"errors"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// mend commits the changes for messages that depend on something lost. It records another
// place for a message that can be read there, and otherwise the loss.
func (h *healer) mend(ctx context.Context, list []hurt) error {
	w := h.b.NewWriter(h.stage, Author{Connection: "heal"}, nil, func() error { return errAgain })
	list, err := h.unnamed(ctx, list)
	if err != nil {
		return err
	}
	var lost []*history.MessageState
	for _, m := range list {
		if m.readable {
			w.news = append(w.news, m.Message)
			continue
		}
		lost = append(lost, m.MessageState)
	}
	if err := h.returned(ctx, lost); err != nil {
		return err
	}
	if lost, err = h.replace(ctx, w, lost); err != nil {
		return err
	}
	events, err := h.losses(lost)
	if err != nil || len(events) == 0 && len(w.news) == 0 {
		return err
	}
	return h.commit(ctx, w, events)
}

// named reports whether the log itself names a readable place for each chunk. If so, it adds
// the places that the index lacks.
func (h *healer) named(ctx context.Context, m hurt) (bool, error) {
	var at []history.Place
	for _, c := range m.Chunks {
		places, err := h.log.of(ctx, h.b, c)
		if err != nil {
			return false, err
		}
		p, err := h.firstThere(places)
		if err != nil || p == nil {
			return false, err
		}
		at = append(at, *p)
	}
	if m.readable {
		return true, nil
	}
	return true, h.b.set.index.Update(func(t *index.Txn) error {
		st := &State{set: h.b.set, t: t, id: h.b.entry.ID, path: h.b.path, part: h.part}
		for _, p := range at {
			if err := st.putPlace(p); err != nil {
				return err
			}
		}
		return nil
	})
}

// firstThere returns the place that a reader of the log uses, which is the first whose object
// exists. It returns nil if the chunk cannot be read there.
func (h *healer) firstThere(places []history.Place) (at *history.Place, err error) {
	err = h.view(func(st *State) error {
		for _, p := range places {
			if p.Erased() {
				continue
			}
			id := objectID(p.Object)
			how, err := st.t.Get(index.LostKey(h.part.name, id[:]))
			if err == nil && how[0] == lossAbsent {
				continue
			}
			if err == nil || !errors.Is(err, index.ErrNotFound) {
				return err
			}
			if lost, err := h.part.lost(st.t, p.Chunk, id); err != nil || lost {
				return err
			}
			at = &p
			return nil
		}
		return nil
	})
	return at, err
}

// commit commits the changes. It returns errAgain if another host has committed first.
func (h *healer) commit(ctx context.Context, w *Writer, events []history.Event) error {
	bld := history.NewBuilder(history.Header{}, h.b.set.opt.Pack)
	if err := w.bodies(ctx, bld); err != nil {
		return err
	}
	for _, e := range events {
		if err := bld.Event(e); err != nil {
			return err
		}
	}
	if err := h.b.commit(ctx, w.who, bld, func() error { return errAgain }); err != nil {
		return err
	}
	w.unstage()
	return nil
}
