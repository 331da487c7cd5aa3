package session

import (
	"context"
	"fmt"
	"iter"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// draft is the commit of an APPLY MAILBOX. The records are streamed into it.
type draft struct {
	u *mailboxUpdate
	w *partitions.Writer

	fields  int  // number of mailbox fields written with the head
	changes bool // something differs from our state
	live    int  // live records in the set
	lastUID uint32
	batch   batch

	resync string   // why the mailbox is in resync after this commit
	life   *newLife // begins with this mailbox; nil = no new life
}

func newDraft(u *mailboxUpdate) *draft {
	d := &draft{u: u}
	d.w = u.b.NewWriter(u.x.stage, u.x.who, u.from, d.recheck)
	return d
}

// gather reads all records and finds the message of each.
func (d *draft) gather(ctx context.Context, records iter.Seq2[*cyrus.Record, error]) error {
	if err := d.w.View(ctx, d.head); err != nil {
		return err
	}
	most := min(batchRecords, d.u.x.set.Options().CommitRecords)
	for r, err := range records {
		if err != nil {
			return err
		}
		if r.UID <= d.lastUID {
			if err := d.flush(ctx); err != nil {
				return err
			}
			return fmt.Errorf("uid %d: the record comes after uid %d: %w", r.UID, d.lastUID, cyrus.ErrBadParameters)
		}
		d.lastUID = r.UID
		if d.batch.add(r); d.batch.full(most) {
			if err := d.flush(ctx); err != nil {
				return err
			}
		}
	}
	if err := d.flush(ctx); err != nil {
		return err
	}
	d.batch = batch{} // the commit may wait for others
	return d.lateFields()
}

// flush adds the records of the batch to the commit.
func (d *draft) flush(ctx context.Context) error {
	if d.batch.n == 0 {
		return nil
	}
	if err := d.w.MakeRoom(ctx, d.batch.n); err != nil {
		return err
	}
	if err := d.lookUp(ctx); err != nil {
		return err
	}
	for i := range d.batch.n {
		if err := d.record(ctx, i); err != nil {
			return fmt.Errorf("uid %d: %w", d.batch.records[i].UID, err)
		}
	}
	d.batch.clear()
	return nil
}

// lateFields writes the head again if the client sent more fields after the records.
func (d *draft) lateFields() error {
	mb := d.u.mb
	if len(mb.Fields) == d.fields {
		return nil
	}
	return d.w.Event(&history.MailboxEvent{UniqueID: mb.UniqueID, Name: mb.Name, Fields: mb.Fields})
}

// head writes the events that come before the records.
func (d *draft) head(st *partitions.State) error {
	mb := d.u.mb
	d.fields = len(mb.Fields)
	var events []history.Event
	var err error
	if !mb.Intermediate() {
		if d.life, err = d.u.x.beginsLife(st, d.u.held, mb.Name, mb.UniqueID, mb.UIDValidity); err != nil {
			return err
		}
	}
	if d.life != nil {
		events = d.life.events
	} else if events, err = makeRoom(st, mb.Name, mb.UniqueID); err != nil {
		return err
	}
	if w := d.u.was; w != nil && w.Deleted.IsZero() && w.Name != mb.Name {
		events = append(events, &history.RenameEvent{UniqueID: mb.UniqueID, Old: w.Name, New: mb.Name})
	}
	if len(events) > 0 {
		d.changes = true
	}
	events = append(events, &history.MailboxEvent{UniqueID: mb.UniqueID, Name: mb.Name, Fields: mb.Fields})
	for _, e := range events {
		if err := d.w.Event(e); err != nil {
			return err
		}
	}
	return nil
}

// record adds the i-th record of the batch to the commit.
func (d *draft) record(ctx context.Context, i int) error {
	r, old := &d.batch.records[i].Record, d.batch.before[i]
	if !r.Expunged() {
		d.live++
	}
	if err := d.message(ctx, r, old, &d.batch.found[i]); err != nil {
		return err
	}
	d.changes = d.changes || !old.same
	return d.w.Record(ctx, d.u.mb.UniqueID, r)
}

// message makes sure that the bucket holds the record's message after the commit, or that the
// source itself cannot read it.
func (d *draft) message(ctx context.Context, r *cyrus.Record, old before, m *partitions.Message) (err error) {
	if d.w.Adds(r.GUID) {
		return nil
	}
	if r.GUID == (cyrus.GUID{}) && !r.Expunged() {
		return fmt.Errorf("the record has no GUID: %w", cyrus.ErrBadParameters)
	}
	if !m.Exists() {
		m = nil
	}
	if (m == nil || m.Missing) && (!r.Expunged() || d.u.x.stage.Dropped(r.GUID)) {
		if m, err = d.copied(ctx, r.GUID, m); err != nil {
			return err
		}
	}
	if m == nil || m.Missing {
		return d.without(ctx, r, old, m)
	}
	switch {
	case m.Size != int64(r.Size):
		return fmt.Errorf("message %s has %d bytes, its record %d: %w", r.GUID, m.Size, r.Size, cyrus.ErrBadParameters)
	case !m.Known():
		d.changes = true
		return d.w.Add(ctx, r.GUID, m)
	case old.message || r.Expunged():
		return nil
	}
	return d.w.Reuse(ctx, m)
}

// copied copies a message from a place that the backup may not refer to. It returns m if no
// other place has the message.
func (d *draft) copied(ctx context.Context, g cyrus.GUID, m *partitions.Message) (*partitions.Message, error) {
	other, err := d.w.Copy(ctx, g)
	if err != nil {
		return nil, err
	}
	if other != nil && other.Damaged {
		d.resync = "bodies of its messages are lost"
	}
	if m == nil || other != nil && !other.Missing {
		m = other
	}
	return m, nil
}

// without handles a record whose message has no body here. m is nil if the message is unknown.
func (d *draft) without(ctx context.Context, r *cyrus.Record, old before, m *partitions.Message) error {
	x := d.u.x
	failed := x.stage.Failed()
	switch {
	case r.Expunged():
		return nil // the source has not sent it
	case m == nil && failed != nil:
		return fmt.Errorf("message %s: %w", r.GUID, failed)
	case m != nil && m.Lost && (m.Known() || x.unreadable == 0):
		return d.lost(r, old, m)
	case m != nil && x.unreadable == 0 && !old.message && d.u.from == nil && !x.importing:
		// RESERVE has reported the message as held: it was erased, or lost, since then.
		return d.again(r, "is missing since the client asked for it")
	case m != nil && x.unreadable == 0 && !d.u.complete:
		d.u.missing++ // known to be missing; a delta does not include it
		return nil
	case m == nil && x.stage.Invalidated(d.u.b):
		return fmt.Errorf("message %s: the partition has lost it since it was sent: %w", r.GUID, cyrus.ErrLocked)
	case m == nil && x.unreadable == 0:
		return fmt.Errorf("message %s: %w: %w", r.GUID, errUnknownMessage, cyrus.ErrBadParameters)
	}
	return d.lack(ctx, r, m)
}

// lost handles a record whose message has lost its body while the backup is not healed yet.
// The backup is healed when it is opened again. For a record that we know, only the flags
// change. A message that the backup does not know was perhaps reported as held: the client is
// asked for it again, unless it believes that it has sent the record before.
func (d *draft) lost(r *cyrus.Record, old before, m *partitions.Message) error {
	switch {
	case old.message && !d.u.complete:
		return nil
	case !m.Known():
		return d.again(r, "was lost")
	}
	return fmt.Errorf("message %s was lost: %w", r.GUID, cyrus.ErrLocked)
}

// again defers a record whose message the client has to send again. If the client believes that it has
// sent the record before, RESERVE will not name the message: the mailbox is then asked for as a whole.
func (d *draft) again(r *cyrus.Record, why string) error {
	err := cyrus.ErrLocked
	if d.u.was != nil && uint64(r.UID) <= number(d.u.was.Fields, "LAST_UID") {
		err = fmt.Errorf("%w: %w", errUnknownMessage, err)
	}
	return fmt.Errorf("message %s %s: %w", r.GUID, why, err)
}

// lack records a message without a body, because the client could not read its file.
func (d *draft) lack(ctx context.Context, r *cyrus.Record, m *partitions.Message) error {
	d.u.missing++
	d.u.x.log.Error("SYNCERROR: the source cannot read a message: the backup lacks its body",
		"mailbox", d.u.mb.Name, "uid", r.UID, "guid", r.GUID.String())
	if m != nil && m.Known() {
		return nil
	}
	d.changes = true
	return d.w.AddMissing(ctx, r.GUID, int64(r.Size))
}

// commit ends the mailbox and commits the draft.
func (d *draft) commit(ctx context.Context) error {
	u := d.u
	if err := d.w.EndRecords(ctx, u.mb.UniqueID); err != nil {
		return err
	}
	if u.complete && u.was != nil {
		if err := d.w.Event(&history.CompleteEvent{UniqueID: u.mb.UniqueID}); err != nil {
			return err
		}
	}
	if d.resync != "" || u.was != nil && u.was.Resync != "" {
		if err := d.w.Event(&history.ResyncEvent{UniqueID: u.mb.UniqueID, Reason: d.resync}); err != nil {
			return err
		}
	}
	if err := d.w.Commit(ctx); err != nil {
		return err
	}
	if d.life != nil {
		d.life.began(u.x, u.held, u.b.Name())
	}
	return nil
}

func (d *draft) recheck() error {
	if d.life != nil { // the events of a new life depend on every mailbox
		return fmt.Errorf("another host changed the backup while a new life of the user began: %w", cyrus.ErrLocked)
	}
	return d.u.b.ViewOrNone(d.u.stillValid)
}

// stillValid checks the draft again after another writer's commits came first.
func (u *mailboxUpdate) stillValid(st *partitions.State) error {
	was, complete := u.was, u.complete
	if err := u.look(st); err != nil {
		return err
	}
	if (was == nil) != (u.was == nil) || complete != u.complete || was != nil && was.Commit != u.was.Commit {
		return fmt.Errorf("another host changed the mailbox: %w", cyrus.ErrLocked)
	}
	return nil
}
