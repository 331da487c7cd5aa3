package partitions

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// State is a backup's state in the index, within one transaction. history.Replayer and the
// answers to GET use it.
type State struct {
	set  *Set
	t    *index.Txn
	id   uint64 // of the backup
	path string
	part *Partition
}

var _ history.State = (*State)(nil)

// get decodes the value of a key into v. It returns false if the key does not exist.
func (s *State) get(k index.Key, v any) (bool, error) {
	b, err := s.t.Get(k)
	if errors.Is(err, index.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fmt.Errorf("index key %q of %s: %w", []byte(k), s.path, err)
	}
	return true, nil
}

// put writes a value without the HTML escapes of json.Marshal. They make a value up to six
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
	if ok, err := s.get(index.MailboxKey(s.id, uniqueid), m); !ok {
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

func (s *State) Mailboxes() iter.Seq2[*history.MailboxState, error] {
	return func(yield func(*history.MailboxState, error) bool) {
		for kv, err := range s.t.Scan(index.SeqPrefix(s.id), nil) {
			var m *history.MailboxState
			if err == nil {
				m, err = s.Mailbox(string(kv.Value))
			}
			if err == nil && m == nil {
				err = fmt.Errorf("index of %s: mailbox %s has an order but no state", s.path, kv.Value)
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// PutMailbox keeps the order of creation, the live names, and the uniqueids consistent. A long
// transaction can be split between any two writes, and repeating it must give the same result.
// The old name therefore goes first, and nothing points to a missing mailbox.
func (s *State) PutMailbox(m *history.MailboxState) error {
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
	if err := s.put(index.MailboxKey(s.id, m.UniqueID), m); err != nil {
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

func (s *State) Record(uniqueid string, uid uint32) (*history.RecordState, error) {
	r := new(history.RecordState)
	if ok, err := s.get(index.RecordKey(s.id, uniqueid, uid), r); !ok {
		return nil, err
	}
	return r, nil
}

func (s *State) Records(uniqueid string, from uint32) iter.Seq2[*history.RecordState, error] {
	return func(yield func(*history.RecordState, error) bool) {
		prefix := index.RecordPrefix(s.id, uniqueid)
		for kv, err := range s.t.Scan(prefix, binary.BigEndian.AppendUint32(prefix[:len(prefix):len(prefix)], from)) {
			r := new(history.RecordState)
			if err == nil {
				err = json.Unmarshal(kv.Value, r)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

func (s *State) PutRecord(uniqueid string, r *history.RecordState) error {
	return s.put(index.RecordKey(s.id, uniqueid, r.UID), r)
}

func (s *State) Message(g cyrus.GUID) (*history.MessageState, error) {
	m := new(history.MessageState)
	if ok, err := s.get(index.MessageKey(s.id, g[:]), m); !ok {
		return nil, err
	}
	return m, nil
}

func (s *State) PutMessage(m *history.MessageState) error {
	return s.put(index.MessageKey(s.id, m.GUID[:]), m)
}

// putPlace stores the place of a chunk: for the whole partition if it is in a pack, or for
// this backup alone if it is in the backup's log.
func (s *State) putPlace(p history.Place) error {
	at, ok := parsePlace(p)
	if !ok {
		return s.put(index.InlineKey(s.id, p.Chunk[:]), p)
	}
	return s.part.putPlace(s.t, p.Chunk, at)
}

// place returns where the backup finds a chunk.
func (s *State) place(c history.ChunkID) (history.Place, error) {
	if p, ok, err := s.part.lookupChunk(s.t, c); ok || err != nil {
		return p, err
	}
	var p history.Place
	ok, err := s.get(index.InlineKey(s.id, c[:]), &p)
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
		_, err := s.place(c)
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
		for kv, err := range s.t.Scan(index.ItemPrefix(s.id, kind), nil) {
			i := new(history.ItemState)
			if err == nil {
				err = json.Unmarshal(kv.Value, i)
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
	for kv, err := range s.t.Scan(index.RecordPrefix(s.id, uniqueid), nil) {
		if err != nil {
			return err
		}
		if err := s.t.Delete(kv.Key); err != nil {
			return err
		}
	}
	if err := s.dropName(m); err != nil {
		return err
	}
	for _, k := range []index.Key{
		index.UniqueIDKey(uniqueid, s.path), index.SeqKey(s.id, m.Seq),
		index.AskedKey(s.id, uniqueid), index.MailboxKey(s.id, uniqueid),
	} {
		if err := s.t.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

func (s *State) DropRecord(uniqueid string, uid uint32) error {
	return s.t.Delete(index.RecordKey(s.id, uniqueid, uid))
}

func (s *State) DropItem(k history.ItemKey) error {
	return s.t.Delete(index.ItemKey(s.id, k.Kind, k.A, k.B, k.C))
}

func (s *State) KeepMessages(keep func(*history.MessageState) bool) error {
	for kv, err := range s.t.Scan(index.MessageKey(s.id, nil), nil) {
		if err != nil {
			return err
		}
		var m history.MessageState
		if err := m.UnmarshalJSON(kv.Value); err != nil {
			return err
		}
		if keep(&m) {
			continue
		}
		if err := s.t.Delete(kv.Key); err != nil {
			return err
		}
	}
	return nil
}
