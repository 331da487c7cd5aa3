package history

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// An erasure drops deleted content from a checkpoint, although the log after it has no prune event
// there. What commits after the checkpoint refer to stays: a record may name a message again that was
// deleted before, and its commit does not repeat the message. Later finds this.

// Later is what the commits after a state refer to, apart from the content that was deleted before a time.
type Later struct {
	before    time.Time
	seed      maphash.Seed
	mailboxes map[string]mention
	messages  prefixSet // guids
	records   prefixSet // that were sent as expunged: a tombstone of each stays, not its message
	sorted    int       // prefixes at the last sort
	pruned    time.Time // the latest time of a prune event
}

// mention is how commits refer to a mailbox.
type mention struct {
	live   bool      // it is live from a commit on
	pruned time.Time // before that commit, a deleted mailbox was dropped if it was deleted before this time
}

// NewLater returns an empty Later for content that was deleted before a time.
func NewLater(before time.Time) *Later {
	return &Later{before: before, seed: maphash.MakeSeed(), mailboxes: map[string]mention{}}
}

// Fold applies commits to m, and adds what they refer to. It ranges over them twice, beside each other.
func (l *Later) Fold(m *Mem, commits iter.Seq2[*CommitReader, error]) error {
	next, stop := iter.Pull2(commits)
	defer stop()
	for c, err := range commits {
		if err == nil {
			err = m.Apply(c)
		}
		if err == nil {
			err = l.addNext(m, c.Header().Number, next)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addNext adds the next commit, which m contains already.
func (l *Later) addNext(m *Mem, number uint64, next func() (*CommitReader, error, bool)) error {
	c, err, ok := next()
	switch {
	case err != nil:
		return err
	case !ok || c.Header().Number != number:
		return fmt.Errorf("%w: the log has changed at commit %d", ErrCorrupt, number)
	}
	for e, err := range c.Events() {
		if err == nil {
			err = l.event(m, e)
		}
		if err != nil {
			return err
		}
	}
	if n := len(l.messages.prefixes) + len(l.records.prefixes); n > 2*l.sorted+1<<16 {
		l.sort() // the same records come again and again
	}
	return nil
}

func (l *Later) event(m *Mem, e Event) error {
	switch e := e.(type) {
	case *MailboxEvent:
		if m := l.mailboxes[e.UniqueID]; !m.live {
			l.mailboxes[e.UniqueID] = mention{true, l.pruned}
		}
	case *PruneEvent:
		if e.Before.After(l.pruned) {
			l.pruned = e.Before
		}
	case *RecordsEvent:
		l.mention(e.UniqueID)
		for _, r := range e.Records {
			if err := l.record(m, e.UniqueID, r); err != nil {
				return err
			}
		}
	case *RecordBlocksEvent:
		l.mention(e.UniqueID)
		for _, b := range e.Blocks {
			for r, err := range m.readBlock(b) {
				if err == nil {
					err = l.record(m, e.UniqueID, r)
				}
				if err != nil {
					return err
				}
			}
		}
	case *MessagesEvent:
		for i := range e.Messages {
			l.messages.add(guidPrefix(e.Messages[i].GUID))
		}
	case *LostEvent: // a lost message counts as another arrival
		l.addMessages(e.Messages)
	case *ErasedEvent:
		l.addMessages(e.Messages)
	default:
		if id := mailboxOf(e); id != "" {
			l.mention(id)
		}
	}
	return nil
}

func (l *Later) addMessages(list []cyrus.GUID) {
	for _, g := range list {
		l.messages.add(guidPrefix(g))
	}
}

func (l *Later) mention(uniqueid string) {
	if _, ok := l.mailboxes[uniqueid]; !ok {
		l.mailboxes[uniqueid] = mention{}
	}
}

// mailboxOf returns the uniqueid in an event that changes a mailbox, apart from its records; "" = none.
func mailboxOf(e Event) string {
	switch e := e.(type) {
	case *CompleteEvent:
		return e.UniqueID
	case *ExpungeEvent:
		return e.UniqueID
	case *RenameEvent:
		return e.UniqueID
	case *UnmailboxEvent:
		return e.UniqueID
	case *MovedAwayEvent:
		return e.UniqueID
	case *AdoptedEvent:
		return e.UniqueID
	case *ResyncEvent:
		return e.UniqueID
	}
	return ""
}

// record adds a record. m is the state after its commit. A record that was expunged before, and is sent again as
// expunged, keeps the time of its tombstone: no state needs its message.
func (l *Later) record(m *Mem, uniqueid string, r *cyrus.Record) error {
	if r.Expunged() {
		l.records.add(l.id(uniqueid, r.UID))
		now, err := m.Record(uniqueid, r.UID)
		if err != nil || now != nil && expungedBefore(now, l.before) {
			return err
		}
	}
	l.messages.add(guidPrefix(r.GUID))
	return nil
}

func (l *Later) id(uniqueid string, uid uint32) uint64 {
	return maphash.Bytes(l.seed, append(binary.BigEndian.AppendUint32(nil, uid), uniqueid...))
}

func (l *Later) sort() {
	l.messages.sort()
	l.records.sort()
	l.sorted = len(l.messages.prefixes) + len(l.records.prefixes)
}

// Forget drops what a prune event of the time of later would drop, apart from what later refers to: the commits
// that were added to it can be applied, and then a prune event leads to the same state as without Forget. A
// tombstone that stays for these commits loses its message. Forget reports whether anything has changed.
func (m *Mem) Forget(later *Later) (changed bool, err error) {
	was, err := m.sealedState()
	if err != nil {
		return false, err
	}
	later.sort()
	rp := Replayer{State: m}
	if err := rp.forget(later.before, later); err != nil {
		return false, err
	}
	is, err := m.sealedState()
	return !bytes.Equal(was, is), err
}

func (rp *Replayer) forget(before time.Time, later *Later) error {
	named := &prefixSet{}
	for m, err := range rp.State.Mailboxes() {
		if err == nil {
			err = rp.forgetMailbox(m, named, before, later)
		}
		if err != nil {
			return err
		}
	}
	if err := rp.pruneItems(before); err != nil {
		return err
	}
	named.sort()
	return rp.State.KeepMessages(func(m *MessageState) bool {
		return named.has(guidPrefix(m.GUID)) || later.messages.has(guidPrefix(m.GUID))
	})
}

// forgetMailbox drops a deleted mailbox, or some of its records. Commits may also refer to a mailbox that
// stays deleted: then nothing makes its other records live again.
func (rp *Replayer) forgetMailbox(m *MailboxState, named *prefixSet, before time.Time, later *Later) error {
	then, mentioned := later.mailboxes[m.UniqueID]
	revived := then.live && !deletedBefore(m.Deleted, then.pruned)
	dead := deletedBefore(m.Deleted, before) && !revived
	if dead && !mentioned {
		used, err := rp.anyRecord(m.UniqueID, later)
		if err != nil {
			return err
		}
		if !used {
			return rp.State.DropMailbox(m.UniqueID)
		}
	}
	return rp.pruneRecords(m, named, func(r *RecordState) (drop, names bool) {
		if !dead && !expungedBefore(r, before) {
			return false, true
		}
		return !later.has(m.UniqueID, r), false
	})
}

// anyRecord reports whether a record of a mailbox has to stay.
func (rp *Replayer) anyRecord(uniqueid string, later *Later) (bool, error) {
	for r, err := range rp.State.Records(uniqueid, 0) {
		if err != nil || later.has(uniqueid, r) {
			return err == nil, err
		}
	}
	return false, nil
}

// has reports whether a record has to stay. A record whose message is named again keeps that from an
// earlier prune event.
func (l *Later) has(uniqueid string, r *RecordState) bool {
	return l.messages.has(guidPrefix(r.GUID)) || l.records.has(l.id(uniqueid, r.UID))
}
