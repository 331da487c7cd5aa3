package partitions

import (
	"errors"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/indexvalue"
)

// fewLookups are not worth an iterator.
const fewLookups = 16

// EachRecord calls fn for the records with these uids that exist; i is the position in uids,
// which ascend. r is valid only inside fn. Blocks that are close together are read as one
// range.
func (s *State) EachRecord(uniqueid string, uids []uint32, fn func(i int, r *history.RecordState) error) error {
	if len(uids) == 0 {
		return nil
	}
	if err := s.flush(); err != nil {
		return err
	}
	w := wanted{s: s, uniqueid: uniqueid, uids: uids, fn: fn}
	blocks := int((uids[len(uids)-1] - uids[0]) / index.BlockRecords)
	if len(uids) < fewLookups || blocks >= sparse*len(uids) {
		return w.lookUp()
	}
	prefix := index.RecordPrefix(s.id, uniqueid)
	for kv, err := range s.t.Range(prefix, index.RecordBlockKey(s.id, uniqueid, uids[0])) {
		if err != nil {
			return err
		}
		first, ok := index.BlockOf(kv.Key, prefix)
		if !ok {
			continue
		}
		if !w.from(first) {
			return nil
		}
		if err := w.in(kv.Value, first); err != nil {
			return err
		}
	}
	return nil
}

// wanted are the uids of an EachRecord.
type wanted struct {
	s        *State
	uniqueid string
	uids     []uint32
	next     int // position in uids
	fn       func(i int, r *history.RecordState) error

	block  indexvalue.BlockReader
	record history.RecordState
}

// from drops the uids before a uid. It returns false if none is left.
func (w *wanted) from(uid uint32) bool {
	for w.next < len(w.uids) && w.uids[w.next] < uid {
		w.next++
	}
	return w.next < len(w.uids)
}

// lookUp reads a block for each group of uids.
func (w *wanted) lookUp() error {
	for w.next < len(w.uids) {
		uid := w.uids[w.next]
		first := uid / index.BlockRecords * index.BlockRecords
		err := w.s.t.Value(index.RecordBlockKey(w.s.id, w.uniqueid, uid), func(v []byte) error { return w.in(v, first) })
		if err != nil && !errors.Is(err, index.ErrNotFound) {
			return err
		}
		for w.next < len(w.uids) && w.uids[w.next]-first < index.BlockRecords {
			w.next++
		}
	}
	return nil
}

// in calls fn for the wanted records of a block.
func (w *wanted) in(value []byte, first uint32) error {
	if w.uids[w.next]-first >= index.BlockRecords {
		return nil
	}
	w.block.Reset(value, first)
	for {
		uid, long, ok := w.block.Next(&w.record)
		if !ok {
			return blockError(w.uniqueid, first, w.block.End())
		}
		if !w.from(uid) {
			return nil
		}
		if w.uids[w.next] != uid {
			continue
		}
		r := &w.record
		if long {
			var err error
			if r, err = w.s.longRecord(w.uniqueid, uid); err != nil {
				return err
			}
		}
		if err := w.fn(w.next, r); err != nil {
			return err
		}
	}
}
