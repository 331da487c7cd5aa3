package partitions

import (
	"context"
	"fmt"
	"iter"
	"reflect"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// draft is the commit that an APPLY MAILBOX becomes. Records stream into it.
type draft struct {
	u      *mailboxUpdate
	bld    *history.Builder
	spool  *history.RecordBlockWriter // takes the records that are too many for a commit
	count  int
	news   []history.Message       // messages that the commit makes known, at most Options.CommitRecords
	known  map[cyrus.GUID]struct{} // their guids
	staged []*stagedMessage        // those of them that the connection has sent
	reused []history.Place         // of messages that the backup knows, which new records name

	begun   bool // the events before the records are written
	fields  int  // of the mailbox, that these have
	stale   bool // messages were committed: the view of the index lacks them
	changes bool // some record is not as we have it
	live    int  // live records in the set
	lastUID uint32

	resync string   // why the mailbox is in resync after this
	life   *newLife // that begins with the mailbox; nil = none does
}

// commitBytes is how large the events of a commit become before records go into blocks.
// 65,536 ordinary records are less; with long annotations they would pass what a reader takes.
const commitBytes = 32 << 20

func newDraft(u *mailboxUpdate) *draft {
	return &draft{
		u: u, bld: history.NewBuilder(history.Header{}, u.x.set.opt.Pack),
		known: map[cyrus.GUID]struct{}{},
	}
}

// gather reads the records to their end and finds the message of each. Where it had
// to commit messages on the way it goes on over a new view of the index, that shows them.
func (d *draft) gather(ctx context.Context, records iter.Seq2[*cyrus.Record, error]) error {
	next, stop := iter.Pull2(records)
	defer stop()
	for more := true; more; {
		dead, err := d.u.b.part.Condemned(ctx)
		if err != nil {
			return err
		}
		err = d.u.b.view(func(st *indexState) (err error) {
			f := &finder{x: d.u.x, t: st.t, st: st, part: d.u.b.part, dead: dead}
			more, err = d.part(ctx, f, next)
			return err
		})
		if err != nil {
			return err
		}
	}
	return d.lateFields()
}

// lateFields writes the head once more where the client sent fields behind the records.
func (d *draft) lateFields() error {
	mb := d.u.mb
	if len(mb.Fields) == d.fields {
		return nil
	}
	return d.bld.Event(&history.MailboxEvent{UniqueID: mb.UniqueID, Name: mb.Name, Fields: mb.Fields})
}

// part reads records as long as the view of the index holds. more is false at their end.
func (d *draft) part(ctx context.Context, f *finder, next func() (*cyrus.Record, error, bool)) (more bool, err error) {
	if !d.begun {
		d.begun = true
		if err := d.head(f.st); err != nil {
			return false, err
		}
	}
	for d.stale = false; !d.stale; {
		r, err, ok := next()
		if err != nil || !ok {
			return false, err
		}
		if err := d.record(ctx, f, r); err != nil {
			return false, fmt.Errorf("uid %d: %w", r.UID, err)
		}
	}
	return true, nil
}

// head writes the events that come before the records.
func (d *draft) head(st *indexState) error {
	mb := d.u.mb
	d.fields = len(mb.Fields)
	var events []history.Event
	var err error
	if !mb.Intermediate() {
		if d.life, err = d.u.held.beginsLife(st, mb.Name, mb.UniqueID, mb.UIDValidity, d.u.x.now(), d.u.x.past); err != nil {
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
		if err := d.bld.Event(e); err != nil {
			return err
		}
	}
	return nil
}

func (d *draft) record(ctx context.Context, f *finder, r *cyrus.Record) error {
	if r.UID <= d.lastUID {
		return fmt.Errorf("it comes after uid %d: %w", d.lastUID, cyrus.ErrBadParameters)
	}
	d.lastUID = r.UID
	if !r.Expunged() {
		d.live++
	}
	old, err := d.before(f.st, r.UID)
	if err != nil {
		return err
	}
	if err := d.message(ctx, f, r, old); err != nil {
		return err
	}
	d.changes = d.changes || old == nil || old.Gone || !reflect.DeepEqual(&old.Record, r)
	d.count++
	// More go as record blocks before the commit, so that it stays one small put.
	if d.spool == nil && d.count <= d.u.x.set.opt.CommitRecords && d.bld.Size() < commitBytes {
		return d.bld.Record(d.u.mb.UniqueID, r)
	}
	if d.spool == nil {
		d.spool = history.NewRecordBlockWriter(patientPuts{d.u.b.part.store}, d.u.b.path, d.u.x.set.opt.Pack)
	}
	return d.spool.Add(ctx, r)
}

// before is the record with this uid as we have it; nil for a new one.
func (d *draft) before(st *indexState, uid uint32) (*history.RecordState, error) {
	if d.u.was == nil {
		return nil, nil
	}
	return st.Record(d.u.mb.UniqueID, uid)
}

// message makes sure that the record's message can be read from the bucket once this
// is committed, or is one that the source itself cannot read.
func (d *draft) message(ctx context.Context, f *finder, r *cyrus.Record, old *history.RecordState) error {
	if _, done := d.known[r.GUID]; done {
		return nil
	}
	if r.GUID == (cyrus.GUID{}) && !r.Expunged() {
		return fmt.Errorf("it has no GUID: %w", cyrus.ErrBadParameters)
	}
	m, err := f.find(r.GUID)
	if err != nil {
		return err
	}
	if (m == nil || m.missing) && !r.Expunged() {
		other, err := d.elsewhere(ctx, r.GUID)
		if err != nil {
			return err
		}
		if m == nil || other != nil && !other.missing {
			m = other
		}
	}
	switch {
	case m != nil && !m.missing && m.size != int64(r.Size):
		return fmt.Errorf("message %s has %d bytes, the record says %d: %w", r.GUID, m.size, r.Size, cyrus.ErrBadParameters)
	case m != nil && m.ours != nil && !m.missing:
		if old != nil && !old.Gone && old.GUID == r.GUID || r.Expunged() {
			return nil
		}
		return d.reuse(ctx, f.st, m.ours)
	case m != nil && !m.missing:
		return d.tell(ctx, history.Message{GUID: r.GUID, Size: m.size, Chunks: m.chunks}, m.staged)
	case r.Expunged():
		return nil // its file is gone at the source, too
	case m == nil && d.u.x.staging.failed != nil:
		return fmt.Errorf("message %s: %w: %w: %w", r.GUID, errLost, cyrus.ErrLocked, d.u.x.staging.failed)
	case m != nil && m.lost && (m.ours != nil || d.u.x.unreadable == 0):
		return d.lost(r, old)
	case m != nil && d.u.x.unreadable == 0 && !d.u.complete:
		d.u.missing++ // known to be missing; a delta does not bring it
		return nil
	case m == nil && d.u.x.distrusted(d.u.b.part):
		return fmt.Errorf("message %s: the partition has lost it since it was sent: %w", r.GUID, cyrus.ErrLocked)
	case d.u.x.unreadable == 0 && m == nil:
		return fmt.Errorf("message %s: %w: %w", r.GUID, errUnknownMessage, cyrus.ErrBadParameters)
	}
	return d.lack(ctx, r, m)
}

// lack notes a message whose file the client could not read.
func (d *draft) lack(ctx context.Context, r *cyrus.Record, m *found) error {
	d.u.missing++
	d.u.x.log.Error("SYNCERROR: the source cannot read a message: the backup lacks its body",
		"mailbox", d.u.mb.Name, "uid", r.UID, "guid", r.GUID.String())
	if m != nil && m.ours != nil {
		return nil
	}
	return d.tell(ctx, history.Message{GUID: r.GUID, Size: int64(r.Size), Missing: true}, nil)
}

// tell makes a message known to the backup with the next commit.
func (d *draft) tell(ctx context.Context, m history.Message, staged *stagedMessage) error {
	if len(d.news) >= d.u.x.set.opt.CommitRecords {
		if err := d.commitMessages(ctx); err != nil {
			return err
		}
	}
	d.changes = true
	d.known[m.GUID] = struct{}{}
	m.Private = staged != nil && staged.suspicious
	d.news = append(d.news, m)
	if staged != nil {
		d.staged = append(d.staged, staged)
	}
	return nil
}
