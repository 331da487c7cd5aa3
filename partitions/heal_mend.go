package partitions

import (
	"context"
	"errors"
	"slices"

	"backupd/index"
	"backupd/partitions/history"
	"backupd/replication/cyrus"
)

// mend commits what has to be said of messages that depend on something lost: another
// place for those that can be read there, the loss of the others.
func (h *healer) mend(ctx context.Context, list []hurt) error {
	d := &draft{u: &mailboxUpdate{x: h.x, b: h.b}}
	var lost []*history.MessageState
	for _, m := range list {
		named, err := h.named(ctx, m)
		if err != nil {
			return err
		}
		if named {
			continue
		}
		if m.readable {
			d.news = append(d.news, m.Message)
			continue
		}
		lost = append(lost, m.MessageState)
	}
	if err := h.returned(ctx, lost); err != nil {
		return err
	}
	lost, err := h.replace(ctx, d, lost)
	if err != nil {
		return err
	}
	events, err := h.losses(lost)
	if err != nil || len(events) == 0 && len(d.news) == 0 {
		return err
	}
	return h.commit(ctx, d, events)
}

// named says whether the log itself names a place for each chunk at which it can be read.
// What the index did not know of it, it learns.
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
		st := &indexState{set: h.b.set, t: t, id: h.b.entry.ID, path: h.b.path, part: h.part}
		for _, p := range at {
			if err := st.putPlace(p); err != nil {
				return err
			}
		}
		return nil
	})
}

// firstThere is the place that a reader of the log takes, the first whose object exists;
// nil when the chunk cannot be read there.
func (h *healer) firstThere(places []history.Place) (at *history.Place, err error) {
	err = h.view(func(st *indexState) error {
		for _, p := range places {
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

// returned asks once more for the objects that are thought to be absent, before a loss is
// written down: errAgain when some are there again.
func (h *healer) returned(ctx context.Context, lost []*history.MessageState) error {
	var ask []history.Place
	for _, m := range lost {
		for _, c := range m.Chunks {
			places, err := h.placesOf(ctx, c)
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
	err = h.view(func(st *indexState) error {
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

// placesOf are the places of a chunk that the log or the index knows, lost ones too.
func (h *healer) placesOf(ctx context.Context, c history.ChunkID) ([]history.Place, error) {
	places, err := h.log.of(ctx, h.b, c)
	if err != nil {
		return nil, err
	}
	err = h.view(func(st *indexState) error {
		if at, ok, err := h.part.chunkAt(st.t, c); err != nil || ok {
			places = append(slices.Clip(places), at.place(c))
			return err
		}
		return nil
	})
	return places, err
}

// replace finds other copies of messages, and returns those of which there is none.
func (h *healer) replace(ctx context.Context, d *draft, lost []*history.MessageState) (rest []*history.MessageState, err error) {
	for _, m := range lost {
		is, err := h.copyOf(ctx, m)
		if err != nil {
			return nil, err
		}
		if is == nil {
			rest = append(rest, m)
			continue
		}
		d.news = append(d.news, history.Message{GUID: m.GUID, Size: m.Size, Chunks: is.chunks})
		if is.staged != nil {
			d.staged = append(d.staged, is.staged)
		}
	}
	return rest, nil
}

// copyOf finds a message in the packs of the partition, cut in another way, or copies it
// from another partition. nil: there is none that can be read now.
func (h *healer) copyOf(ctx context.Context, m *history.MessageState) (*found, error) {
	if m.Private {
		return nil, nil // others of this guid are other messages
	}
	var is *found
	err := h.view(func(st *indexState) error {
		other, ok, err := h.part.lookupShared(st.t, m.GUID)
		if err != nil || !ok || other.size != m.Size {
			return err
		}
		live, err := h.part.allLive(st.t, new(history.Condemned), other.chunks)
		if live {
			is = &found{size: other.size, chunks: other.chunks}
		}
		return err
	})
	if is != nil || err != nil || h.part.private() {
		return is, err
	}
	// Another partition is asked once: what it cannot give now, the source has, too.
	is, err = h.x.fromOthers(withPatience(ctx, patience{}), h.part, m.GUID)
	switch {
	case err == nil && is != nil && is.size == m.Size:
		return is, nil
	case err != nil && ctx.Err() != nil:
		return nil, err
	case err != nil && !errors.Is(err, errBodyLost):
		h.b.set.log.Warn("a lost message is in another partition, and cannot be read there now", "backup", h.b.path, "guid", m.GUID.String(), "err", err)
	}
	return nil, nil
}

// losses are the events for messages that are lost. Those that live nowhere stay as they
// are: nobody would send them again, and an object may come back.
func (h *healer) losses(lost []*history.MessageState) (events []history.Event, err error) {
	if len(lost) == 0 {
		return nil, nil
	}
	lives := map[cyrus.GUID]bool{} // of the lost ones
	for _, m := range lost {
		lives[m.GUID] = false
	}
	err = h.view(func(st *indexState) error {
		for mb, err := range st.Mailboxes() {
			if err != nil {
				return err
			}
			hit, err := findLive(st, mb, lives)
			if err != nil {
				return err
			}
			if hit && mb.Resync == "" {
				events = append(events, &history.ResyncEvent{UniqueID: mb.UniqueID, Reason: lostReason})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var guids []cyrus.GUID
	for _, m := range lost {
		if lives[m.GUID] {
			guids = append(guids, m.GUID)
		}
	}
	for part := range slices.Chunk(guids, history.MaxMessagesPerEvent) {
		events = append(events, &history.LostEvent{Messages: part})
	}
	if len(guids) > 0 {
		h.b.set.log.Error("messages are lost from the bucket: the next sync asks the source for them",
			"backup", h.b.path, "partition", h.part.name, "messages", len(guids), "first", guids[0].String())
	}
	return events, nil
}

// findLive notes which of the messages have live records in a mailbox.
func findLive(st *indexState, mb *history.MailboxState, lives map[cyrus.GUID]bool) (hit bool, err error) {
	if !mb.Deleted.IsZero() {
		return false, nil
	}
	for r, err := range st.Records(mb.UniqueID, 0) {
		if err != nil {
			return hit, err
		}
		if _, lost := lives[r.GUID]; lost && r.Expunged == 0 && !r.Gone {
			lives[r.GUID], hit = true, true
		}
	}
	return hit, nil
}

// commit writes it down. errAgain when another host's commits came first.
func (h *healer) commit(ctx context.Context, d *draft, events []history.Event) error {
	bld := history.NewBuilder(history.Header{}, h.b.set.opt.Pack)
	if err := d.bodies(ctx, bld); err != nil {
		return err
	}
	for _, e := range events {
		if err := bld.Event(e); err != nil {
			return err
		}
	}
	if err := h.b.commit(ctx, h.x.who, bld, func() error { return errAgain }); err != nil {
		return err
	}
	d.unstage()
	return nil
}
