package session

import (
	"context"
	"fmt"
	"iter"
	"math"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// moveMailbox renames a mailbox into another backup, in steps that can be repeated. First its
// bodies become readable in the new backup, then the whole mailbox is committed there
// (adopted), and then it ends in the old backup (moved-away). The old backup keeps its past.
func (x *Session) moveMailbox(ctx context.Context, from, to repository.Name, r cyrus.Rename) error {
	old, _, err := x.open(ctx, from)
	if err != nil {
		return err
	}
	var m *history.MailboxState
	err = old.Read(ctx, func(st *partitions.State) (err error) {
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
	if err := x.adoptMailbox(ctx, old, to, m, r); err != nil {
		return err
	}
	return x.moveAway(ctx, from, m.UniqueID, to)
}

// moveAway ends a mailbox that has moved to another backup.
func (x *Session) moveAway(ctx context.Context, from repository.Name, uniqueid string, to repository.Name) error {
	return x.change(ctx, from, func(st *partitions.State) ([]history.Event, error) {
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

// adoptMailbox commits a mailbox of the old backup to the new backup.
func (x *Session) adoptMailbox(ctx context.Context, old *partitions.Backup, to repository.Name, m *history.MailboxState, r cyrus.Rename) error {
	b, h, err := x.open(ctx, to)
	if err != nil {
		return err
	}
	if err := b.Begin(ctx); err != nil {
		return err
	}
	defer b.End()
	// The index of the old backup may be rebuilt at any time and is incomplete meanwhile, so
	// take its commit mutex too. This cannot deadlock: a session that takes two commit mutexes
	// holds the leases of both backups, so no other session waits for the same two.
	if err := old.Begin(ctx); err != nil {
		return err
	}
	defer old.End()
	if !old.Exists() {
		return fmt.Errorf("the backup of %s is being looked for: %w", old.Name(), cyrus.ErrLocked)
	}
	if err := b.Create(ctx, old); err != nil {
		return b.Failed(err)
	}
	mb, err := renamedHead(m, r)
	if err != nil {
		return b.Failed(err)
	}
	u := &mailboxUpdate{x: x, b: b, held: h, mb: mb, from: old, complete: true}
	if err := u.runAdopted(ctx, m); err != nil {
		h.fresh = false
		return b.Failed(fmt.Errorf("adopt %s from the backup of %s: %w", r.New, old.Name(), err))
	}
	return nil
}

// renamedHead returns the head of the mailbox under its new name.
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

func (u *mailboxUpdate) runAdopted(ctx context.Context, m *history.MailboxState) error {
	err := u.b.ViewOrNone(func(st *partitions.State) (err error) {
		if st != nil {
			u.was, err = st.Mailbox(m.UniqueID)
		}
		return err
	})
	if err != nil {
		return err
	}
	d := newDraft(u)
	if err := d.w.Event(&history.AdoptedEvent{UniqueID: m.UniqueID, From: u.from.Path(), Number: u.from.Number()}); err != nil {
		return err
	}
	if err := d.gather(ctx, recordsOf(u.from, m.UniqueID)); err != nil {
		return err
	}
	if m.Resync != "" {
		d.resync = m.Resync // a mailbox that differs from the source differs here too
	}
	if u.unchanged(d) {
		return nil // an earlier move was interrupted after this step
	}
	if err := d.commit(ctx); err != nil {
		return err
	}
	if m.Resync == "" {
		u.report()
	}
	return u.noteMissing()
}

// recordsOf yields the records of a mailbox, including expunged ones. The caller holds the
// commit mutex. No view of the index is open while the caller has a record.
func recordsOf(b *partitions.Backup, uniqueid string) iter.Seq2[*cyrus.Record, error] {
	return func(yield func(*cyrus.Record, error) bool) {
		for from := uint64(0); from <= math.MaxUint32; {
			part, err := someRecords(b, uniqueid, uint32(from))
			if err != nil {
				yield(nil, err)
				return
			}
			for _, r := range part {
				if !yield(&r.Record, nil) {
					return
				}
			}
			if len(part) < batchRecords {
				return
			}
			from = uint64(part[len(part)-1].UID) + 1
		}
	}
}

// someRecords returns at most batchRecords records of a mailbox, from a UID on.
func someRecords(b *partitions.Backup, uniqueid string, from uint32) (part []*history.RecordState, err error) {
	err = b.View(func(st *partitions.State) error {
		for r, err := range st.Records(uniqueid, from) {
			if err != nil {
				return err
			}
			if part = append(part, r); len(part) == batchRecords {
				return nil
			}
		}
		return nil
	})
	return part, err
}

// endStaleCopies ends a mailbox in other backups that still show it after the source has sent
// it under another owner: the user was renamed without a RENAME. It only tidies up, so errors
// are logged.
func (x *Session) endStaleCopies(ctx context.Context, b *partitions.Backup, uniqueid string) {
	names, err := x.set.BackupsOf(uniqueid)
	if err != nil {
		x.log.Warn("look for other backups of a mailbox", "uniqueid", uniqueid, "err", err)
		return
	}
	for _, n := range names {
		if n == b.Name() || !x.may(n) {
			continue
		}
		if err := x.endStaleCopy(ctx, n, uniqueid, b.Name()); err != nil {
			x.log.Warn("a mailbox was moved to another backup, and could not be ended here", "backup", n.Path(), "uniqueid", uniqueid, "err", err)
		}
	}
	x.last = b
}

// endStaleCopy does nothing if another session is using the backup: the next change of the mailbox tries again.
func (x *Session) endStaleCopy(ctx context.Context, from repository.Name, uniqueid string, to repository.Name) error {
	b := x.set.Use(from)
	defer x.set.Leave(b)
	if x.held[b] == nil && !b.Lease().Free(x) {
		return nil
	}
	return x.moveAway(ctx, from, uniqueid, to)
}
