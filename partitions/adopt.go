package partitions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// moveMailbox renames a mailbox into another backup, in steps that can be repeated:
// its bodies become readable there, the whole mailbox is committed there (adopted),
// and then it ends here (moved-away). Its past stays with the old backup.
func (x *Session) moveMailbox(ctx context.Context, from, to repository.Name, r cyrus.Rename) error {
	old, _, err := x.open(ctx, from)
	if err != nil {
		return err
	}
	var m *history.MailboxState
	err = old.read(ctx, func(st *indexState) (err error) {
		m, err = st.MailboxByName(r.Old)
		return err
	})
	if err != nil {
		return err
	}
	if m == nil {
		_, err := existing(nil, r.Old)
		return err
	}
	if err := x.adopt(ctx, old, to, m, r); err != nil {
		return err
	}
	return x.moveAway(ctx, from, m.UniqueID, to)
}

// moveAway ends a mailbox that lives in another backup now.
func (x *Session) moveAway(ctx context.Context, from repository.Name, uniqueid string, to repository.Name) error {
	return x.apply(ctx, from, func(st *indexState) ([]history.Event, error) {
		if st == nil {
			return nil, nil
		}
		m, err := st.Mailbox(uniqueid)
		if err != nil || m == nil || !m.Deleted.IsZero() {
			return nil, err
		}
		return []history.Event{&history.MovedAwayEvent{UniqueID: uniqueid, To: to.Path()}}, nil
	})
}

// adopt commits the mailbox, as it is in the old backup, to the new one.
func (x *Session) adopt(ctx context.Context, old *Backup, to repository.Name, m *history.MailboxState, r cyrus.Rename) error {
	b, h, err := x.open(ctx, to)
	if err != nil {
		return err
	}
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.end()
	// Its index may be made anew at any time, and shows a part of it until that has ended.
	// Who holds two turns holds both backups, so that nobody waits for the other two.
	if err := old.begin(ctx); err != nil {
		return err
	}
	defer old.end()
	if old.entry == nil {
		return fmt.Errorf("the backup of %s is being looked for: %w", old.name, cyrus.ErrLocked)
	}
	if err := b.create(ctx, old.part); err != nil {
		return x.set.errf(b, err)
	}
	mb, err := renamedHead(m, r)
	if err != nil {
		return x.set.errf(b, err)
	}
	u := &mailboxUpdate{x: x, b: b, held: h, mb: mb, from: old, complete: true}
	if err := u.adopt(ctx, m); err != nil {
		h.fresh = false
		return x.set.errf(b, fmt.Errorf("adopt %s from the backup of %s: %w", r.New, old.name, err))
	}
	return nil
}

// renamedHead is the head of the mailbox under its new name.
func renamedHead(m *history.MailboxState, r cyrus.Rename) (*cyrus.Mailbox, error) {
	fields := history.SetField(m.Fields, "MBOXNAME", r.New)
	if r.Partition != "" {
		fields = history.SetField(fields, "PARTITION", r.Partition)
	}
	if r.UIDValidity != 0 {
		fields = history.SetField(fields, "UIDVALIDITY", fmt.Sprint(r.UIDValidity))
	}
	mb, _, err := cyrus.ParseMailbox(fields)
	return mb, err
}

func (u *mailboxUpdate) adopt(ctx context.Context, m *history.MailboxState) error {
	err := u.b.viewOrNone(func(st *indexState) (err error) {
		if st != nil {
			u.was, err = st.Mailbox(m.UniqueID)
		}
		return err
	})
	if err != nil {
		return err
	}
	d := newDraft(u)
	if err := d.bld.Event(&history.AdoptedEvent{UniqueID: m.UniqueID, From: u.from.path, Number: u.from.entry.Number}); err != nil {
		return err
	}
	if err := d.gather(ctx, u.from.records(m.UniqueID)); err != nil {
		return err
	}
	if m.Resync != "" {
		d.resync = m.Resync // what was known not to be the source's is no more so here
	}
	if u.unchanged(d) {
		return nil // a move that was cut off after this step
	}
	if err := d.commit(ctx); err != nil {
		return err
	}
	if m.Resync == "" {
		u.report()
	}
	return u.noteMissing()
}

// records yields what a mailbox holds, expunged records included. The turn is held.
func (b *Backup) records(uniqueid string) iter.Seq2[*cyrus.Record, error] {
	return func(yield func(*cyrus.Record, error) bool) {
		err := b.view(func(st *indexState) error {
			for r, err := range st.Records(uniqueid, 0) {
				if err != nil {
					return err
				}
				if !yield(&r.Record, nil) {
					return errStop
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(nil, err)
		}
	}
}

// leaveOthers ends a mailbox in backups that still show it, now that the source has
// sent it as another one's: the user was renamed and no RENAME told us. It is tidying
// up; whatever stands in its way is only logged.
func (x *Session) leaveOthers(ctx context.Context, b *Backup, uniqueid string) {
	names, err := x.set.backupsOf(uniqueid)
	if err != nil {
		x.log.Warn("look for other backups of a mailbox", "uniqueid", uniqueid, "err", err)
		return
	}
	for _, n := range names {
		if n == b.name {
			continue
		}
		other := x.set.backup(n)
		if x.held[other] == nil {
			if _, free := other.hold.try(x); !free {
				continue // its holder is at work; the next change of the mailbox comes here again
			}
			other.hold.release(x)
		}
		if err := x.moveAway(ctx, n, uniqueid, b.name); err != nil {
			x.log.Warn("a mailbox lives in another backup now, and could not be ended here", "backup", n.Path(), "uniqueid", uniqueid, "err", err)
		}
	}
	x.last = b
}

// elsewhere finds a message that the backup may not refer to where it lies: in the
// backup that a mailbox comes from, or in another partition. It is copied.
func (d *draft) elsewhere(ctx context.Context, g cyrus.GUID) (*found, error) {
	x, part := d.u.x, d.u.b.part
	if d.u.from != nil {
		if m, err := d.fromOld(ctx, g); m != nil || err != nil {
			return m, err
		}
	}
	if m := x.staging.msgs[g]; m != nil && m.part != part {
		return d.restage(ctx, m)
	}
	m, err := x.fromOthers(ctx, part, g)
	if errors.Is(err, errBodyLost) {
		err = nil // no partition has a copy that can be read
	}
	return m, err
}

// fromOthers copies a message that lies in packs of another partition. errBodyLost when
// only damaged ones are found.
func (x *Session) fromOthers(ctx context.Context, part *Partition, g cyrus.GUID) (*found, error) {
	var damaged error
	for _, p := range x.set.parts {
		if p == part || p.private() {
			continue
		}
		m, err := x.fromOther(ctx, p, part, g)
		if m != nil || err != nil && !errors.Is(err, errBodyLost) {
			return m, err
		}
		damaged = errors.Join(damaged, err)
	}
	return nil, damaged
}

// fromOther copies a message from one partition to another; nil when it is not there.
func (x *Session) fromOther(ctx context.Context, from, to *Partition, g cyrus.GUID) (*found, error) {
	var m shared
	var ok bool
	err := x.set.index.View(func(t *index.Txn) (err error) {
		m, ok, err = from.lookupShared(t, g)
		return err
	})
	if err != nil || !ok {
		return nil, err
	}
	open, err := from.opener(g, m)
	if err != nil || open == nil {
		return nil, err
	}
	return x.copyMessage(ctx, to, g, m.size, open)
}

// restage copies a message that was staged for another partition. It need not be one
// that backups share: it is found by its chunks.
func (d *draft) restage(ctx context.Context, m *stagedMessage) (*found, error) {
	x, part := d.u.x, d.u.b.part
	if err := x.staging.flush(ctx, []*stagedMessage{m}); err != nil {
		return nil, err
	}
	open, err := m.part.opener(m.guid, shared{m.size, m.chunks})
	if err != nil || open == nil {
		return nil, err
	}
	copied, err := x.copyMessage(ctx, part, m.guid, m.size, open)
	if errors.Is(err, errBodyLost) {
		x.staging.forget(m)
		err = fmt.Errorf("%w: %w", cyrus.ErrLocked, err) // the client is asked for it again
	}
	return copied, err
}

// opener opens a message by the places that the index knows of its chunks; nil when
// it does not know them all.
func (p *Partition) opener(g cyrus.GUID, m shared) (open func(context.Context) (io.ReadCloser, error), err error) {
	places := map[history.ChunkID]history.Place{}
	all := true
	err = p.set.index.View(func(t *index.Txn) error {
		for _, c := range m.chunks {
			at, ok, err := p.lookupChunk(t, c)
			if err != nil {
				return err
			}
			places[c] = at
			all = all && ok
		}
		return nil
	})
	if err != nil || !all {
		return nil, err
	}
	state := &history.MessageState{Message: history.Message{GUID: g, Size: m.size, Chunks: m.chunks}}
	return func(ctx context.Context) (io.ReadCloser, error) { return p.openMessage(ctx, state, places) }, nil
}

// fromOld copies a message of the backup that the mailbox comes from, whose turn is held.
func (d *draft) fromOld(ctx context.Context, g cyrus.GUID) (*found, error) {
	var m *history.MessageState
	err := d.u.from.view(func(st *indexState) (err error) {
		m, err = st.Message(g)
		return err
	})
	if err != nil || m == nil {
		return nil, err
	}
	if m.Missing {
		return &found{size: m.Size, missing: true}, nil
	}
	from, epoch := d.u.from, d.u.from.part.epoch.Load()
	places, err := from.places(m)
	var copied *found
	if err == nil {
		copied, err = d.u.x.copyMessage(ctx, d.u.b.part, g, m.Size, func(ctx context.Context) (io.ReadCloser, error) {
			return from.part.openMessage(ctx, m, places)
		})
	}
	if (errors.Is(err, errBodyLost) || errors.Is(err, history.ErrNoPlace)) && from.part.epoch.Load() == epoch {
		d.resync = "bodies of its messages are lost"
		return &found{size: m.Size, missing: true}, nil
	}
	return copied, err
}

// copyMessage stages a message that is read from a bucket.
func (x *Session) copyMessage(ctx context.Context, part *Partition, g cyrus.GUID, size int64, open func(context.Context) (io.ReadCloser, error)) (*found, error) {
	stage := x.stageWhole
	if size > x.set.opt.ChunkThreshold {
		stage = x.stagePieces
	}
	m, err := await(ctx, func() (*stagedMessage, error) {
		body, err := open(ctx)
		if err != nil {
			return nil, err
		}
		defer body.Close()
		m := &stagedMessage{guid: g, size: size, part: part}
		return m, stage(ctx, m, body)
	})
	if err != nil {
		return nil, fmt.Errorf("copy message %s: %w", g, err)
	}
	return &found{size: size, chunks: m.chunks, staged: m}, nil
}
