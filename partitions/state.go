package partitions

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/indexvalue"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// State is a backup's state in the index, within one transaction. history.Replayer and the
// answers to GET use it. A transaction that writes ends with flush.
type State struct {
	set  *Set
	t    *index.Txn
	id   uint64 // of the backup
	path string
	part *Partition

	records recordBlock // the one that was used last
	scratch []byte

	noneAsked bool // no mailbox has an Asked
}

var _ history.State = (*State)(nil)

// read decodes the value of a key. It returns false if the key does not exist.
func (s *State) read(k index.Key, decode func([]byte) error) (bool, error) {
	err := s.t.Value(k, func(v []byte) error {
		if err := decode(v); err != nil {
			return fmt.Errorf("index key %q of %s: %w", []byte(k), s.path, err)
		}
		return nil
	})
	if errors.Is(err, index.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// get decodes the JSON value of a key into v. It returns false if the key does not exist.
func (s *State) get(k index.Key, v any) (bool, error) {
	return s.read(k, func(b []byte) error { return json.Unmarshal(b, v) })
}

// put writes a JSON value without the HTML escapes of json.Marshal. They make a value up to six
// times as long as in the log, and the index limits the size of a value.
func (s *State) put(k index.Key, v any) error {
	b, err := history.MarshalState(v)
	if err != nil {
		return err
	}
	return s.t.Set(k, b)
}

func (s *State) Mailbox(uniqueid string) (*history.MailboxState, error) {
	m := new(history.MailboxState)
	ok, err := s.read(index.MailboxKey(s.id, uniqueid), func(b []byte) error { return indexvalue.ParseMailbox(b, uniqueid, m) })
	if !ok {
		return nil, err
	}
	return m, nil
}

func (s *State) MailboxByName(name string) (*history.MailboxState, error) {
	u, err := s.t.Get(index.NameKey(s.id, name))
	if errors.Is(err, index.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.Mailbox(string(u))
}

// PutMailbox keeps the order of creation, the live names, and the uniqueids consistent. A long
// transaction can be split between any two writes, and repeating it must give the same result.
// The old name therefore goes first, and nothing points to a missing mailbox.
func (s *State) PutMailbox(m *history.MailboxState) error {
	if err := s.flush(); err != nil { // the mailbox counts its records
		return err
	}
	old, err := s.Mailbox(m.UniqueID)
	if err != nil {
		return err
	}
	live := m.Deleted.IsZero()
	if old != nil && (old.Name != m.Name || !live) {
		if err := s.dropName(old); err != nil {
			return err
		}
	}
	if err := s.noteResync(old, m); err != nil {
		return err
	}
	if err := s.t.Set(index.MailboxKey(s.id, m.UniqueID), indexvalue.AppendMailbox(nil, m)); err != nil {
		return err
	}
	if err := s.t.Set(index.SeqKey(s.id, m.Seq), []byte(m.UniqueID)); err != nil {
		return err
	}
	if !live {
		return s.t.Delete(index.UniqueIDKey(m.UniqueID, s.path))
	}
	if err := s.t.Set(index.NameKey(s.id, m.Name), []byte(m.UniqueID)); err != nil {
		return err
	}
	return s.t.Set(index.UniqueIDKey(m.UniqueID, s.path), nil)
}

// noteResync keeps the list of live mailboxes in resync. It comes before the write of the mailbox,
// because a repetition sees the new one as old.
func (s *State) noteResync(old, m *history.MailboxState) error {
	in := func(m *history.MailboxState) bool { return m != nil && m.Resync != "" && m.Deleted.IsZero() }
	switch k := index.ResyncKey(s.id, m.UniqueID); {
	case in(m):
		return s.t.Set(k, nil)
	case in(old):
		return s.t.Delete(k)
	}
	return nil
}

// dropName removes the name of a mailbox, unless another mailbox has taken it.
func (s *State) dropName(m *history.MailboxState) error {
	k := index.NameKey(s.id, m.Name)
	u, err := s.t.Get(k)
	if errors.Is(err, index.ErrNotFound) || err == nil && string(u) != m.UniqueID {
		return nil
	}
	if err != nil {
		return err
	}
	return s.t.Delete(k)
}

// messageBytes is the usual size of a message's value.
const messageBytes = 48

func (s *State) Message(g cyrus.GUID) (*history.MessageState, error) {
	m := new(history.MessageState)
	ok, err := s.read(index.MessageKey(s.id, g[:]), func(b []byte) error { return indexvalue.ParseMessage(b, g, m) })
	if !ok {
		return nil, err
	}
	return m, nil
}

func (s *State) PutMessage(m *history.MessageState) error {
	return s.t.SetCopy(index.MessageKey(s.id, m.GUID[:]), indexvalue.AppendMessage(make([]byte, 0, messageBytes), m))
}

// putPlace stores the place of a chunk: for the whole partition if it is in a pack, or for
// this backup alone if it is in the backup's log.
func (s *State) putPlace(p history.Place) error {
	at, ok := parsePlace(p)
	if !ok {
		return s.putInline(p)
	}
	number, err := s.part.numbers.number(at.pack)
	if err != nil {
		return err
	}
	return s.part.putPlace(s.t, p.Chunk, at, number)
}

func (s *State) putInline(p history.Place) error {
	if p.Erased() {
		return nil // the event makes the message missing
	}
	return s.t.Set(index.InlineKey(s.id, p.Chunk[:]), indexvalue.AppendInline(nil, s.path, p))
}

// place returns where the backup finds a chunk of a message.
func (s *State) place(m *history.MessageState, c history.ChunkID) (history.Place, error) {
	if p, ok, err := s.part.lookupChunk(s.t, sole(m.GUID, m.Chunks), c); ok || err != nil {
		return p, err
	}
	p, ok, err := s.inline(c)
	if err != nil {
		return p, err
	}
	if ok {
		ok, err = s.readable(p)
	}
	if err == nil && !ok {
		err = fmt.Errorf("chunk %s: %w", c, history.ErrNoPlace)
	}
	return p, err
}

// inline returns the place of a chunk in the backup's log, whether it is lost or not.
func (s *State) inline(c history.ChunkID) (p history.Place, ok bool, err error) {
	ok, err = s.read(index.InlineKey(s.id, c[:]), func(b []byte) error {
		p, err = indexvalue.ParseInline(b, s.path, c)
		return err
	})
	return p, ok, err
}

func (s *State) readable(p history.Place) (bool, error) {
	lost, err := s.part.lost(s.t, p.Chunk, objectID(p.Object))
	return !lost, err
}

// holds reports whether every chunk of a message is stored where it can be read.
func (s *State) holds(m *history.MessageState) (bool, error) {
	if s.part.lossCount().Count == 0 {
		return true, nil // the log names a place for each
	}
	for _, c := range m.Chunks {
		_, err := s.place(m, c)
		if errors.Is(err, history.ErrNoPlace) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

func (s *State) Item(k history.ItemKey) (*history.ItemState, error) {
	i := new(history.ItemState)
	if ok, err := s.get(index.ItemKey(s.id, k.Kind, k.A, k.B, k.C), i); !ok {
		return nil, err
	}
	return i, nil
}

func (s *State) Items(kind string) iter.Seq2[*history.ItemState, error] {
	return func(yield func(*history.ItemState, error) bool) {
		for kv, err := range s.t.Range(index.ItemPrefix(s.id, kind), nil) {
			i := new(history.ItemState)
			if err == nil {
				err = i.UnmarshalJSON(kv.Value)
			}
			if !yield(i, err) || err != nil {
				return
			}
		}
	}
}

func (s *State) PutItem(i *history.ItemState) error {
	k := i.Key
	return s.put(index.ItemKey(s.id, k.Kind, k.A, k.B, k.C), i)
}

func (s *State) NextSeq() (uint64, error) {
	n := uint64(1) // the first number in every State (history.NewMem)
	_, err := s.get(index.NextSeqKey(s.id), &n)
	return n, err
}

func (s *State) PutNextSeq(n uint64) error { return s.put(index.NextSeqKey(s.id), n) }

func (s *State) sealed() (*history.SealedEvent, error) {
	return repository.SealOf(s)
}

// DropMailbox removes a mailbox and its records, for a prune event.
func (s *State) DropMailbox(uniqueid string) error {
	m, err := s.Mailbox(uniqueid)
	if err != nil || m == nil {
		return err
	}
	if err := s.dropRecords(uniqueid); err != nil {
		return err
	}
	if err := s.dropName(m); err != nil {
		return err
	}
	for _, k := range []index.Key{
		index.UniqueIDKey(uniqueid, s.path), index.SeqKey(s.id, m.Seq),
		index.AskedKey(s.id, uniqueid), index.MailboxKey(s.id, uniqueid), index.ResyncKey(s.id, uniqueid),
	} {
		if err := s.t.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

func (s *State) DropItem(k history.ItemKey) error {
	return s.t.Delete(index.ItemKey(s.id, k.Kind, k.A, k.B, k.C))
}

func (s *State) KeepMessages(keep func(*history.MessageState) bool) error {
	for kv, err := range s.t.Range(index.MessageKey(s.id, nil), nil) {
		if err != nil {
			return err
		}
		m := new(history.MessageState)
		if err := indexvalue.ParseMessage(kv.Value, index.GUIDOf(kv.Key), m); err != nil {
			return err
		}
		if keep(m) {
			continue
		}
		if err := s.t.Delete(slices.Clone(kv.Key)); err != nil {
			return err
		}
	}
	return nil
}
