package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// bodies searches for other copies of unreadable messages, and records the messages that
// have none.
func (r *repairer) bodies(ctx context.Context) error {
	if len(r.diagnosis.bodies) == 0 && len(r.diagnosis.absent) == 0 && len(r.diagnosis.mailboxes) == 0 {
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
	return r.recordLost(ctx, m, need)
}

// recordLost records the messages without a copy.
func (r *repairer) recordLost(ctx context.Context, m *history.Mem, need map[cyrus.GUID]int64) error {
	lost, err := lostEvents(m, need)
	if err != nil {
		return err
	}
	for id := range r.diagnosis.mailboxes {
		if b, err := m.Mailbox(id); err == nil && b != nil && b.Resync == "" && lost.Mailboxes[b.Name] == 0 {
			lost.Events = append(lost.Events, &history.ResyncEvent{UniqueID: id, Reason: "records do not match messages"})
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
			r.report(Waits, name, "%s lost: the next sync asks the mail server again", english.Plural(n, "message body", "message bodies"))
			continue
		}
		r.report(Waits, name, "records do not match messages: the next sync compares the whole mailbox")
	}
	for _, g := range lost.Dead {
		r.report(LostHere, "message "+g.String(), "only history refers to it, and no other copy exists")
	}
	return nil
}

// bodySearch searches for bodies, and copies them into new packs.
type bodySearch struct {
	r       *repairer
	m       *history.Mem
	objects *history.Objects
	w       *pack.Writer
	in      map[string]history.ChunkID // entries of w
	found   []history.Message          // found messages that are not committed yet
	places  []history.Place            // of their chunks; Object is "" for a chunk in w
	from    []string                   // the sources of found
}

// unreadable repairs damaged packs, and returns the messages to search for, with sizes.
func (s *bodySearch) unreadable(ctx context.Context) (map[cyrus.GUID]int64, error) {
	need := maps.Clone(s.r.diagnosis.absent)
	if need == nil {
		need = map[cyrus.GUID]int64{}
	}
	packs := map[string]bool{}
	for _, g := range s.r.diagnosis.bodies {
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
		err := s.r.mendPack(ctx, key)
		if err == nil {
			err = s.mendNote(ctx, key)
		}
		if err != nil {
			return nil, fmt.Errorf("repair %s: %w", key, err)
		}
	}
	s.objects = history.NewObjects(s.r.store, 0) // the cached objects have changed
	return need, nil
}
