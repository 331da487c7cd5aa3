package session

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// ApplyRename renames a mailbox. If its owner changes (the user was renamed, or a shared
// mailbox was given to a user), the mailbox moves to another backup.
func (x *Session) ApplyRename(ctx context.Context, r cyrus.Rename) (err error) {
	defer x.enter()(&err)
	ctx = x.set.Patient(ctx)
	from, to := x.set.NameOf(r.Old), x.set.NameOf(r.New)
	if x.leavesScope(from, to) {
		err := x.unmailbox(ctx, r.Old, existing)
		if err == nil {
			x.log.Warn("a folder was moved out of the scope of this login: it ends here, and can be restored from here",
				"backup", from.Path(), "mailbox", r.Old, "to", to.Path())
		}
		return err
	}
	if from != to {
		return x.moveMailbox(ctx, from, to, r)
	}
	return x.renameWithin(ctx, from, r)
}

func (x *Session) renameWithin(ctx context.Context, n repository.Name, r cyrus.Rename) error {
	b, h, err := x.open(ctx, n)
	if err != nil {
		return err
	}
	var life *newLife
	err = x.change(ctx, n, func(st *partitions.State) ([]history.Event, error) {
		m, err := existing(st, r.Old)
		if err != nil {
			return nil, err
		}
		rename := &history.RenameEvent{UniqueID: m.UniqueID, Old: r.Old, New: r.New, Partition: r.Partition, UIDValidity: r.UIDValidity}
		// The UIDVALIDITY belongs to the old name, so it gives no creation time.
		if life, err = x.beginsLife(st, h, r.New, m.UniqueID, 0); err != nil {
			return nil, err
		}
		if life != nil { // the mailbox ends with the former life unless its head is repeated
			return append(life.events, &history.MailboxEvent{UniqueID: m.UniqueID, Name: m.Name, Fields: m.Fields}, rename), nil
		}
		events, err := makeRoom(st, r.New, m.UniqueID)
		if err != nil {
			return nil, err
		}
		return append(events, rename), nil
	})
	if err == nil && life != nil {
		life.began(x, h, b.Name())
	}
	return err
}

// existing returns the live mailbox with this name, or ErrNonexistent.
func existing(st *partitions.State, name string) (*history.MailboxState, error) {
	if st != nil {
		if m, err := st.MailboxByName(name); m != nil || err != nil {
			return m, err
		}
	}
	return nil, fmt.Errorf("%s: %w", name, cyrus.ErrNonexistent)
}

// makeRoom deletes another live mailbox with the same name. The client orders its renames so
// that names are free. If the name is taken here, the source has deleted that mailbox and we
// have not received the deletion. The history keeps the mailbox.
func makeRoom(st *partitions.State, name, uniqueid string) ([]history.Event, error) {
	if st == nil {
		return nil, nil
	}
	other, err := st.MailboxByName(name)
	if err != nil || other == nil || other.UniqueID == uniqueid {
		return nil, err
	}
	return []history.Event{&history.UnmailboxEvent{UniqueID: other.UniqueID, Name: other.Name}}, nil
}

// ApplyUnmailbox deletes a mailbox. An unknown mailbox counts as already deleted.
func (x *Session) ApplyUnmailbox(ctx context.Context, name string) (err error) {
	defer x.enter()(&err)
	return x.unmailbox(x.set.Patient(ctx), name, func(st *partitions.State, name string) (*history.MailboxState, error) {
		if st == nil {
			return nil, nil
		}
		return st.MailboxByName(name)
	})
}

// unmailbox deletes the mailbox that find returns; nil = it is deleted already.
func (x *Session) unmailbox(ctx context.Context, name string, find func(*partitions.State, string) (*history.MailboxState, error)) error {
	n := x.set.NameOf(name)
	x.owing(n)
	return x.change(ctx, n, func(st *partitions.State) ([]history.Event, error) {
		m, err := find(st, name)
		if err != nil || m == nil {
			return nil, err
		}
		return []history.Event{&history.UnmailboxEvent{UniqueID: m.UniqueID, Name: name}}, nil
	})
}

// ApplyExpunge marks records as expunged that the source has already cleaned up. The client
// sends it after GET FULLMAILBOX (client-behaviour.md f10).
func (x *Session) ApplyExpunge(ctx context.Context, name, uniqueid string, uids []uint32) (err error) {
	defer x.enter()(&err)
	return x.change(x.set.Patient(ctx), x.set.NameOf(name), func(st *partitions.State) ([]history.Event, error) {
		m, err := existing(st, name)
		if err != nil {
			return nil, err
		}
		if m.UniqueID != uniqueid {
			return nil, fmt.Errorf("%s has uniqueid %s, not %s: %w", name, m.UniqueID, uniqueid, cyrus.ErrMoved)
		}
		var gone []uint32
		for _, uid := range uids {
			r, err := st.Record(uniqueid, uid)
			if err != nil {
				return nil, err
			}
			if r != nil && r.Expunged == 0 {
				gone = append(gone, uid)
			}
		}
		if len(gone) == 0 {
			return nil, nil
		}
		return []history.Event{&history.ExpungeEvent{UniqueID: uniqueid, UIDs: gone}}, nil
	})
}
