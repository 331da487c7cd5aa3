package partitions

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
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
	return d.put(ctx, d.bld)
}

// put commits. The bodies that the commit holds itself need not be asked for soon.
func (d *draft) put(ctx context.Context, bld *history.Builder) error {
	b := d.u.b
	epoch := b.part.epoch.Load()
	if err := b.commit(ctx, d.u.x.who, bld, d.recheck); err != nil {
		return err
	}
	b.part.saw(history.LogKey(b.path, b.entry.Number), epoch)
	if d.life != nil && bld == d.bld {
		d.life.began(d.u.x, d.u.held, b.name)
	}
	d.unstage()
	return nil
}

func (d *draft) recheck() error {
	if d.life != nil { // its events depend on every mailbox
		return fmt.Errorf("another host changed the backup while a new life of the user began: %w", cyrus.ErrLocked)
	}
	return d.u.b.viewOrNone(d.u.stillStands)
}

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
	err := d.put(ctx, bld)
	d.stale = true
	return err
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
	return d.places(ctx, bld, inline)
}

// places says where the chunks of the new messages lie that are not inline, once it is
// certain that they, and those of messages that are named again, lie there.
func (d *draft) places(ctx context.Context, bld *history.Builder, inline map[cyrus.GUID]struct{}) error {
	var at []history.Place
	err := d.u.b.set.index.View(func(t *index.Txn) (err error) {
		at, err = d.indexed(t, inline)
		return err
	})
	if err != nil {
		return errors.Join(err, d.u.x.staging.forgetLost(d.u.b.part))
	}
	if at, err = d.certain(ctx, at); err != nil {
		return err
	}
	for _, p := range at {
		bld.Place(p)
	}
	_, err = d.certain(ctx, d.reused)
	d.reused = nil
	return err
}

// certain is Partition.certain. Staged messages that depend on something lost are forgotten.
func (d *draft) certain(ctx context.Context, places []history.Place) ([]history.Place, error) {
	at, err := d.u.b.part.certain(ctx, places)
	if err != nil {
		return nil, errors.Join(err, d.u.x.staging.forgetLost(d.u.b.part))
	}
	return at, nil
}

// indexed is where the index has the chunks of the new messages that are not inline.
func (d *draft) indexed(t *index.Txn, inline map[cyrus.GUID]struct{}) (at []history.Place, err error) {
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
				return nil, err
			}
			if !ok {
				return nil, fmt.Errorf("chunk %s of message %s: %w: %w", c, m.GUID, errLost, cyrus.ErrLocked)
			}
			at = append(at, p)
		}
	}
	return at, nil
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
