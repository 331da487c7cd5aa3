package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// bodies finds other copies of the messages that cannot be read, and records those that
// are nowhere.
func (r *repairer) bodies(ctx context.Context) error {
	if len(r.what.bodies) == 0 && len(r.what.absent) == 0 && len(r.what.mailboxes) == 0 {
		return nil
	}
	r.step("looking for other copies of damaged messages")
	m, err := soundState(ctx, r.f, r.unsound)
	if err != nil {
		return err
	}
	defer m.Close()
	s := &bodySearch{r: r, m: m, objects: history.NewObjects(r.store, 0), w: pack.NewWriter(nil, r.o.Pack)}
	need, err := s.unreadable(ctx)
	if err != nil {
		return err
	}
	if need, err = s.find(ctx, need); err != nil {
		return err
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	return r.lose(ctx, m, need)
}

// lose records the messages of which there is no copy.
func (r *repairer) lose(ctx context.Context, m *history.Mem, need map[cyrus.GUID]int64) error {
	lost, err := lostEvents(m, need)
	if err != nil {
		return err
	}
	for id := range r.what.mailboxes {
		if b, err := m.Mailbox(id); err == nil && b != nil && b.Resync == "" && lost.Mailboxes[b.Name] == 0 {
			lost.Events = append(lost.Events, &history.ResyncEvent{UniqueID: id, Reason: "its records do not fit its messages"})
			lost.Mailboxes[b.Name] = 0
		}
	}
	const atOnce = 200 // events in a commit
	for events := range slices.Chunk(lost.Events, atOnce) {
		if _, err := r.commit(ctx, nil, events...); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(lost.Mailboxes)) {
		if n := lost.Mailboxes[name]; n > 0 {
			r.report(Waits, name, "%d messages have lost their bodies: the source is asked for them", n)
			continue
		}
		r.report(Waits, name, "its records do not fit its messages: the source is compared with it as a whole")
	}
	for _, g := range lost.Dead {
		r.report(LostHere, "message "+g.String(), "only history names it, and there is no other copy")
	}
	return nil
}

// bodySearch looks for bodies, and puts what it finds into new packs.
type bodySearch struct {
	r       *repairer
	m       *history.Mem
	objects *history.Objects
	w       *pack.Writer
	in      map[string]history.ChunkID // entries of w
	news    []history.Message          // that are in it, or in places that are known
	places  []history.Place            // of their chunks, those in w without an object
	from    []string                   // where these were found
}

// unreadable are the messages that still cannot be read once damaged packs are mended.
func (s *bodySearch) unreadable(ctx context.Context) (map[cyrus.GUID]int64, error) {
	need := maps.Clone(s.r.what.absent)
	if need == nil {
		need = map[cyrus.GUID]int64{}
	}
	packs := map[string]bool{}
	for _, g := range s.r.what.bodies {
		msg, err := s.m.Message(g)
		if err != nil {
			return nil, err
		}
		if msg == nil || msg.Missing {
			continue
		}
		need[g] = msg.Size
		for _, c := range msg.Chunks {
			if err := s.damagedPacks(ctx, c, packs); err != nil {
				return nil, err
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(packs)) {
		if err := s.r.mendPack(ctx, key); err != nil {
			return nil, fmt.Errorf("repair %s: %w", key, err)
		}
	}
	s.objects = history.NewObjects(s.r.store, 0) // they have changed
	return need, nil
}
