package partitions

import (
	"context"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// unnamed returns the messages that have to be mended. The log itself names a readable place of each other one, or that was
// erased, and the log has lost the event: nobody looks for its body, unless the user has it.
func (h *healer) unnamed(ctx context.Context, list []hurt) (out []hurt, err error) {
	erased := map[cyrus.GUID]bool{} // whether the user has it
	for _, m := range list {
		named, err := h.named(ctx, m)
		if err != nil {
			return nil, err
		}
		if named {
			continue
		}
		is, err := h.erased(ctx, m)
		if err != nil {
			return nil, err
		}
		if is {
			erased[m.GUID] = false
		}
		out = append(out, m)
	}
	if len(erased) == 0 {
		return out, nil
	}
	err = h.findLive(erased)
	return slices.DeleteFunc(out, func(m hurt) bool { live, is := erased[m.GUID]; return is && !live }), err
}

// erased reports whether a chunk of the message was erased, as the log shows.
func (h *healer) erased(ctx context.Context, m hurt) (bool, error) {
	for _, c := range m.Chunks {
		places, err := h.log.of(ctx, h.b, c)
		if err != nil || slices.ContainsFunc(places, func(p history.Place) bool { return p.Erased() }) {
			return err == nil, err
		}
	}
	return false, nil
}

// findLive marks the messages that have live records.
func (h *healer) findLive(live map[cyrus.GUID]bool) error {
	return h.view(func(st *State) error {
		for mb, err := range st.Mailboxes() {
			if err == nil {
				_, err = findLive(st, mb, live)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
