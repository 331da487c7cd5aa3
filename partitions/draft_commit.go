package partitions

import (
	"context"
	"fmt"
	"slices"

	"backupd/index"
	"backupd/partitions/history"
	"backupd/replication/cyrus"
)

// commit makes everything durable in the order that design.md demands: packs and
// record blocks, then the commit, then the index.
func (d *draft) commit(ctx context.Context) error {
	u := d.u
	if d.spool != nil {
		blocks, err := d.spool.Finish(ctx)
		if err != nil {
			return fmt.Errorf("put record blocks: %w", err)
		}
		if err := d.bld.Event(&history.RecordBlocksEvent{UniqueID: u.mb.UniqueID, Blocks: blocks}); err != nil {
			return err
		}
	}
	if u.complete && u.was != nil {
		if err := d.bld.Event(&history.CompleteEvent{UniqueID: u.mb.UniqueID}); err != nil {
			return err
		}
	}
	if d.resync != "" || u.was != nil && u.was.Resync != "" {
		if err := d.bld.Event(&history.ResyncEvent{UniqueID: u.mb.UniqueID, Reason: d.resync}); err != nil {
			return err
		}
	}
	if err := d.bodies(ctx, d.bld); err != nil {
		return err
	}
	if err := u.b.commit(ctx, u.x.who, d.bld, d.recheck); err != nil {
		return err
	}
	d.unstage()
	return nil
}

func (d *draft) recheck() error { return d.u.b.viewOrNone(d.u.stillStands) }

// stillStands is asked when another writer's commits came first.
func (u *mailboxUpdate) stillStands(st *indexState) error {
	was, complete := u.was, u.complete
	if err := u.look(st); err != nil {
		return err
	}
	if (was == nil) != (u.was == nil) || complete != u.complete || was != nil && was.Commit != u.was.Commit {
		return fmt.Errorf("another host changed the mailbox: %w", cyrus.ErrLocked)
	}
	return nil
}

// commitMessages commits the messages gathered so far, before the mailbox that names
// them: nothing refers to them yet, and no commit grows without bound.
func (d *draft) commitMessages(ctx context.Context) error {
	bld := history.NewBuilder(history.Header{}, d.u.x.set.opt.Pack)
	if err := d.bodies(ctx, bld); err != nil {
		return err
	}
	// That these messages exist stays true whatever others commit meanwhile; what the
	// records are a delta of may not.
	if err := d.u.b.commit(ctx, d.u.x.who, bld, d.recheck); err != nil {
		return err
	}
	d.unstage()
	d.stale = true
	return nil
}

// bodies makes the new messages durable, in the commit itself where they are held in
// memory, otherwise in packs; and says what they are and where every chunk lies.
func (d *draft) bodies(ctx context.Context, bld *history.Builder) error {
	for part := range slices.Chunk(d.news, history.MaxMessagesPerEvent) {
		if err := bld.Event(&history.MessagesEvent{Messages: part}); err != nil {
			return err
		}
	}
	var packed []*stagedMessage
	for _, m := range d.staged {
		if !m.inMem {
			packed = append(packed, m)
		}
	}
	if err := d.u.x.staging.flush(ctx, packed); err != nil {
		return err
	}
	inline := map[cyrus.GUID]struct{}{}
	for _, m := range d.staged {
		if m.inMem {
			inline[m.guid] = struct{}{}
			entry := m.whole().entry()
			bld.Inline(entry, m.body)
			bld.Place(history.Place{Chunk: m.chunks[0], Object: ".", Entry: entry})
		}
	}
	return d.u.b.set.index.View(func(t *index.Txn) error { return d.places(t, bld, inline) })
}

// places says where the chunks of the new messages lie that are not inline.
func (d *draft) places(t *index.Txn, bld *history.Builder, inline map[cyrus.GUID]struct{}) error {
	said := map[history.ChunkID]struct{}{}
	for _, m := range d.news {
		if _, in := inline[m.GUID]; in {
			continue
		}
		for _, c := range m.Chunks {
			if _, twice := said[c]; twice {
				continue
			}
			said[c] = struct{}{}
			p, ok, err := d.u.b.part.lookupChunk(t, c)
			if err != nil {
				return err
			}
			if !ok {
				return fmt.Errorf("chunk %s of message %s: %w: %w", c, m.GUID, errLost, cyrus.ErrLocked)
			}
			bld.Place(p)
		}
	}
	return nil
}

// unstage forgets what the commit has made part of the backup.
func (d *draft) unstage() {
	for _, m := range d.staged {
		if d.u.x.staging.msgs[m.guid] == m {
			d.u.x.staging.forget(m)
		}
	}
	d.staged, d.news = nil, nil
	clear(d.known)
}
