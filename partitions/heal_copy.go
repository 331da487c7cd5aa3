package partitions

import (
	"context"
	"errors"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// replace finds other copies of lost messages. It returns the messages without a copy.
func (h *healer) replace(ctx context.Context, w *Writer, lost []*history.MessageState) (rest []*history.MessageState, err error) {
	for _, m := range lost {
		is, err := h.copyOf(ctx, m)
		if err != nil {
			return nil, err
		}
		if is == nil {
			rest = append(rest, m)
			continue
		}
		w.news = append(w.news, history.Message{GUID: m.GUID, Size: m.Size, Chunks: is.chunks})
		if is.staged != nil {
			w.staged = append(w.staged, is.staged)
		}
	}
	return rest, nil
}

// copyOf finds a message in the packs of the partition, cut into other chunks, or copies it
// from another partition. It returns nil if no copy can be read now.
func (h *healer) copyOf(ctx context.Context, m *history.MessageState) (*Message, error) {
	if m.Private {
		return nil, nil // other messages with this guid have different bytes
	}
	dead, err := h.part.Condemned(ctx)
	if err != nil {
		return nil, err
	}
	var is *Message
	err = h.view(func(st *State) error {
		other, ok, err := h.part.lookupShared(st.t, m.GUID)
		if err != nil || !ok || other.size != m.Size {
			return err
		}
		live, err := h.part.sharedUsable(st.t, dead, m.GUID, other)
		if live {
			is = &Message{Size: other.size, chunks: other.chunks}
		}
		return err
	})
	if is != nil || err != nil || h.alone || h.part.private() {
		return is, err
	}
	// Ask the other partitions without retries, because the source has the message too.
	is, err = h.stage.fromOthers(withRetryPolicy(ctx, retryPolicy{}), h.part, m.GUID)
	switch {
	case err == nil && is != nil && is.Size == m.Size:
		return is, nil
	case err != nil && ctx.Err() != nil:
		return nil, err
	case err != nil && !errors.Is(err, errBodyLost):
		h.alone = true
		h.b.set.log.Warn("another partition has lost messages of this one, and cannot be read now: the source is asked for them", "backup", h.b.path, "guid", m.GUID.String(), "err", err)
	}
	return nil, nil
}
