package csync

import (
	"context"
	"iter"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
)

// readAhead reads the messages of a batch from the bucket while the server answers to the batch
// before.
type readAhead struct {
	guids []cyrus.GUID
	from  *restore.Ahead // nil = nothing
}

// begin starts to read messages.
func (r *readAhead) begin(ctx context.Context, src *restore.Source, guids []cyrus.GUID) {
	r.end()
	r.guids, r.from = guids, src.LoadAhead(ctx, guids)
}

// take yields the messages of the list. It continues the read that begin has started, if that is
// for the same list.
func (r *readAhead) take(ctx context.Context, src *restore.Source, guids []cyrus.GUID) iter.Seq[restore.Loaded] {
	return func(yield func(restore.Loaded) bool) {
		if r.from == nil || !slices.Equal(r.guids, guids) {
			r.begin(ctx, src, guids)
		}
		defer r.end()
		r.from.All()(yield)
	}
}

// end ends the reading.
func (r *readAhead) end() {
	if r.from != nil {
		r.from.Close()
	}
	r.guids, r.from = nil, nil
}

// readNext begins to read the messages of the next batch that no earlier batch had. The next batch
// itself reports errors.
func (w *work) readNext(ctx context.Context) {
	if w.next == nil {
		return
	}
	if _, want, err := w.wanted(w.next); err == nil && len(want) > 0 {
		w.ahead.begin(ctx, w.d.src, want)
	}
}

// wanted reads the messages of a batch, and returns the GUIDs that this unit of work has not
// uploaded or reserved.
func (w *work) wanted(batch []restore.Ref) (msgs []*restore.Message, want []cyrus.GUID, err error) {
	asked := map[cyrus.GUID]bool{}
	for _, ref := range batch {
		m, err := w.message(ref)
		if err != nil {
			return nil, nil, err
		}
		msgs = append(msgs, m)
		if !asked[m.GUID] && !w.c.uploaded[m.GUID] {
			asked[m.GUID] = true
			want = append(want, m.GUID)
		}
	}
	return msgs, want, nil
}
