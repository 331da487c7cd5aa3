package partitions

import (
	"bytes"
	"encoding/binary"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/indexvalue"
)

const (
	// fewLookups are not worth an iterator.
	fewLookups = 16
	// sparse is how many records a range may contain for each wanted record.
	sparse = 4
)

// EachRecord calls fn for the records with these uids that exist; i is the position in uids,
// which ascend. r is valid only inside fn. Records that are close together are read as one
// range.
func (s *State) EachRecord(uniqueid string, uids []uint32, fn func(i int, r *history.RecordState) error) error {
	if len(uids) == 0 {
		return nil
	}
	first, last := uids[0], uids[len(uids)-1]
	if len(uids) < fewLookups || uint64(last-first) >= sparse*uint64(len(uids)) {
		return s.eachRecord(uniqueid, uids, fn)
	}
	prefix := index.RecordPrefix(s.id, uniqueid)
	from := binary.BigEndian.AppendUint32(prefix[:len(prefix):len(prefix)], first)
	var r history.RecordState
	i := 0
	for kv, err := range s.t.Range(prefix, from) {
		if err != nil {
			return err
		}
		uid := index.UIDOf(kv.Key)
		for i < len(uids) && uids[i] < uid {
			i++
		}
		if i == len(uids) {
			return nil
		}
		if uids[i] > uid {
			continue
		}
		if err := indexvalue.ParseRecord(kv.Value, uid, &r); err != nil {
			return err
		}
		if err := fn(i, &r); err != nil {
			return err
		}
	}
	return nil
}

// eachRecord is EachRecord with a lookup for each uid.
func (s *State) eachRecord(uniqueid string, uids []uint32, fn func(i int, r *history.RecordState) error) error {
	var r history.RecordState
	for i, uid := range uids {
		ok, err := s.read(index.RecordKey(s.id, uniqueid, uid), func(b []byte) error {
			return indexvalue.ParseRecord(b, uid, &r)
		})
		if err == nil && ok {
			err = fn(i, &r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// message reads a message into m. It uses m.Chunks if it is large enough.
func (s *State) message(g cyrus.GUID, m *history.MessageState) (bool, error) {
	return s.read(index.MessageKey(s.id, g[:]), func(b []byte) error { return indexvalue.ParseMessage(b, g, m) })
}

// firstEntries is how many entries of a range are read before its density is judged.
const firstEntries = 64

// eachMessage reads the messages of the backup in the order of their GUIDs, as long as enough
// of them are wanted: a backup with few messages costs no lookups. todo are the positions of
// the wanted GUIDs in ascending order. It calls fn with the value of each that exists. The
// first done of todo are then decided.
func (s *State) eachMessage(guids []cyrus.GUID, todo []int32, fn func(i int32, value []byte) error) (done int, err error) {
	read := 0
	for kv, err := range s.t.Range(index.MessageKey(s.id, nil), index.MessageKey(s.id, guids[todo[0]][:])) {
		if err != nil {
			return done, err
		}
		g := index.GUIDOf(kv.Key)
		for done < len(todo) && bytes.Compare(guids[todo[done]][:], g[:]) < 0 {
			done++
		}
		for done < len(todo) && guids[todo[done]] == g {
			if err := fn(todo[done], kv.Value); err != nil {
				return done, err
			}
			done++
		}
		if read++; done == len(todo) || read > firstEntries && done*sparse < read {
			return done, nil
		}
	}
	return len(todo), nil
}
