package partitions

import (
	"errors"
	"fmt"
	"iter"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/indexvalue"
)

// recordBlock is a block of records of a mailbox. It collects the changes to its records until
// another block is used: records come in the order of their uids, so a block is written once
// and not once per record.
type recordBlock struct {
	indexvalue.Block
	uniqueid string
	first    uint32 // uid
	loaded   bool
	changed  bool
	own      uint32 // bit i: the index has a key for the record with position i alone
}

// block returns the block of a record.
func (s *State) block(uniqueid string, uid uint32) (*recordBlock, error) {
	b := &s.records
	first := uid / index.BlockRecords * index.BlockRecords
	if b.loaded && b.first == first && b.uniqueid == uniqueid {
		return b, nil
	}
	if err := s.flush(); err != nil {
		return nil, err
	}
	*b = recordBlock{uniqueid: uniqueid, first: first}
	_, err := s.read(index.RecordBlockKey(s.id, uniqueid, first), func(v []byte) error {
		return indexvalue.ParseBlock(v, first, &b.Block)
	})
	b.own, b.loaded = b.Long, err == nil
	return b, err
}

// flush writes the collected changes of records. A transaction that ends without it loses them.
func (s *State) flush() error {
	b := &s.records
	if !b.changed {
		return nil
	}
	if err := s.writeBlock(b); err != nil {
		return err
	}
	// A separate key goes after the block that refers to it, so that nothing points to a
	// missing record if a long transaction is split here.
	for i := range uint32(index.BlockRecords) {
		if (b.own&^b.Long)>>i&1 == 0 {
			continue
		}
		if err := s.t.Delete(index.RecordKey(s.id, b.uniqueid, b.first+i)); err != nil {
			return err
		}
	}
	b.own, b.changed = b.Long, false
	return nil
}

func (s *State) writeBlock(b *recordBlock) error {
	k := index.RecordBlockKey(s.id, b.uniqueid, b.first)
	if b.Empty() {
		return s.t.Delete(k)
	}
	s.scratch = indexvalue.AppendBlock(s.scratch[:0], &b.Block)
	return s.t.SetCopy(k, s.scratch)
}

func (s *State) Record(uniqueid string, uid uint32) (*history.RecordState, error) {
	b, err := s.block(uniqueid, uid)
	if err != nil {
		return nil, err
	}
	i := uid % index.BlockRecords
	if b.Long>>i&1 != 0 {
		return s.longRecord(uniqueid, uid)
	}
	return b.Records[i], nil
}

// longRecord reads a record that has a separate key.
func (s *State) longRecord(uniqueid string, uid uint32) (*history.RecordState, error) {
	r := new(history.RecordState)
	k := index.RecordKey(s.id, uniqueid, uid)
	ok, err := s.read(k, func(v []byte) error { return indexvalue.ParseRecord(v, uid, r) })
	if err == nil && !ok {
		err = fmt.Errorf("index key %q of %s: %w", []byte(k), s.path, errNoRecord)
	}
	return r, err
}

// errNoRecord reports a block that refers to a missing record.
var errNoRecord = errors.New("the record is missing in the index")

func (s *State) PutRecord(uniqueid string, r *history.RecordState) error {
	b, err := s.block(uniqueid, r.UID)
	if err != nil {
		return err
	}
	i := r.UID % index.BlockRecords
	if !indexvalue.IsLong(r) {
		b.Records[i], b.Long, b.changed = r, b.Long&^(1<<i), true
		return nil
	}
	if err := s.t.Set(index.RecordKey(s.id, uniqueid, r.UID), indexvalue.AppendRecord(nil, r)); err != nil {
		return err
	}
	b.Records[i], b.Long, b.own, b.changed = nil, b.Long|1<<i, b.own|1<<i, true
	return nil
}

func (s *State) DropRecord(uniqueid string, uid uint32) error {
	b, err := s.block(uniqueid, uid)
	if err != nil {
		return err
	}
	i := uid % index.BlockRecords
	if b.Records[i] != nil || b.Long>>i&1 != 0 {
		b.Records[i], b.Long, b.changed = nil, b.Long&^(1<<i), true
	}
	return nil
}

// dropRecords removes all records of a mailbox.
func (s *State) dropRecords(uniqueid string) error {
	if err := s.flush(); err != nil {
		return err
	}
	s.records = recordBlock{}
	for kv, err := range s.t.Scan(index.RecordPrefix(s.id, uniqueid), nil) {
		if err != nil {
			return err
		}
		if err := s.t.Delete(kv.Key); err != nil {
			return err
		}
	}
	return nil
}

func (s *State) Records(uniqueid string, from uint32) iter.Seq2[*history.RecordState, error] {
	return func(yield func(*history.RecordState, error) bool) {
		if err := s.flush(); err != nil {
			yield(nil, err)
			return
		}
		prefix := index.RecordPrefix(s.id, uniqueid)
		for kv, err := range s.t.Range(prefix, index.RecordBlockKey(s.id, uniqueid, from)) {
			if err != nil {
				yield(nil, err)
				return
			}
			first, ok := index.BlockOf(kv.Key, prefix)
			if ok && !s.recordsOf(uniqueid, first, from, kv.Value, yield) {
				return
			}
		}
	}
}

// recordsOf yields the records of a block from a uid on. It returns false if the loop ended.
func (s *State) recordsOf(uniqueid string, first, from uint32, value []byte, yield func(*history.RecordState, error) bool) bool {
	var b indexvalue.Block
	if err := indexvalue.ParseBlock(value, first, &b); err != nil {
		yield(nil, blockError(uniqueid, first, err))
		return false
	}
	for i, r := range b.Records {
		uid := first + uint32(i)
		if uid < from {
			continue
		}
		if b.Long>>i&1 != 0 {
			var err error
			// The loop may have changed the record since the block was read.
			if r, err = s.Record(uniqueid, uid); err != nil {
				yield(nil, err)
				return false
			}
		}
		if r != nil && !yield(r, nil) {
			return false
		}
	}
	return true
}

func blockError(uniqueid string, first uint32, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("index: records of %s from uid %d: %w", uniqueid, first, err)
}
