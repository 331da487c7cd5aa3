package partitions

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// A record may name a message that the backup knows from another record: a copy, or a
// message that was moved to another mailbox. Its body has to be there as well.

// maxReused bounds the places that are proven at once.
const maxReused = 4096

// reuse has the places of a known message proven before the commit.
func (d *draft) reuse(ctx context.Context, st *indexState, m *history.MessageState) error {
	now := st.set.opt.Now()
	for _, c := range m.Chunks {
		p, err := st.place(c)
		if err != nil {
			return err
		}
		if !st.part.proofs.has(objectID(p.Object), now) {
			d.reused = append(d.reused, p)
		}
	}
	if len(d.reused) < maxReused {
		return nil
	}
	_, err := d.certain(ctx, d.reused)
	d.reused = nil
	return err
}

// lost is for a record of a message whose body is lost, and whose backup was not healed
// yet: that happens when it is opened again. A record that is known only changes its flags.
func (d *draft) lost(r *cyrus.Record, old *history.RecordState) error {
	if old != nil && !old.Gone && old.GUID == r.GUID && !d.u.complete {
		return nil
	}
	return fmt.Errorf("message %s was lost: %w", r.GUID, cyrus.ErrLocked)
}
