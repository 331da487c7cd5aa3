package tripwire

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// tableMost is how many records are in memory, at 16 bytes each. Of more records, a sample by
// the hash of the message is enough to know a share.
const tableMost = 1 << 20

// table has the messages that were deleted: when the last copy of each was. A message that is
// still live in a mailbox was not deleted, but moved.
type table struct {
	skip uint // one of 2^skip messages is in the sample
	gone []deletion
}

type deletion struct {
	key uint64 // the first bytes of the GUID
	at  int64  // epoch seconds
}

// key returns the key of a message, and whether it is in the sample.
func (t *table) key(r *history.RecordState) (key uint64, sampled bool) {
	key = binary.BigEndian.Uint64(r.GUID[:])
	return key, key&(1<<t.skip-1) == 0
}

// at returns when a message was deleted; zero = it was not.
func (t *table) at(key uint64) time.Time {
	i, found := slices.BinarySearchFunc(t.gone, key, func(d deletion, key uint64) int { return cmp.Compare(d.key, key) })
	if !found {
		return time.Time{}
	}
	return time.Unix(t.gone[i].at, 0)
}

// span is a time in epoch seconds, without its begin.
type span struct{ after, to int64 }

// deletions reads the deletions within a time from the state. It returns nil if there are too
// few for the rule, which it finds out without reading records.
func deletions(m *history.Mem, o Options, within span) (*table, error) {
	f, err := foldersOf(m, o.DeletedPrefix)
	if err != nil {
		return nil, err
	}
	records, expunged := 0, 0
	for box, err := range m.Mailboxes() {
		if err != nil {
			return nil, err
		}
		if box.MovedTo != "" || f.discarded(box) {
			continue
		}
		records += box.Records
		expunged += box.Records - box.Live
		if !f.deleted(box).IsZero() {
			expunged += box.Live
		}
	}
	if expunged < o.Rule.Least {
		return nil, nil
	}
	t := new(table)
	for records>>t.skip > tableMost {
		t.skip++
	}
	return t, t.read(m, f, within)
}

// read fills the table.
func (t *table) read(m *history.Mem, f *folders, within span) error {
	var live []uint64
	for box, err := range m.Mailboxes() {
		if err != nil {
			return err
		}
		if box.MovedTo != "" || f.discarded(box) {
			continue
		}
		deleted := f.deleted(box)
		for r, err := range m.Records(box.UniqueID, 0) {
			if err != nil {
				return err
			}
			key, sampled := t.key(r)
			at := r.Expunged
			if at == 0 && !deleted.IsZero() {
				at = max(deleted.Unix(), 1)
			}
			switch {
			case !sampled:
			case at == 0:
				live = append(live, key)
			case at > within.after && at <= within.to:
				t.gone = append(t.gone, deletion{key, at})
			}
		}
	}
	slices.Sort(live)
	t.settle(live)
	return nil
}

// settle leaves the last deletion of each message, and none of a live one.
func (t *table) settle(live []uint64) {
	slices.SortFunc(t.gone, func(a, b deletion) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(b.at, a.at)) })
	t.gone = slices.CompactFunc(t.gone, func(a, b deletion) bool { return a.key == b.key })
	t.gone = slices.DeleteFunc(t.gone, func(d deletion) bool {
		_, found := slices.BinarySearch(live, d.key)
		return found
	})
}

// kept yields the live records of a state outside of deleted mailboxes and the trash.
func kept(m *history.Mem, deletedPrefix string) iter.Seq2[*history.RecordState, error] {
	return func(yield func(*history.RecordState, error) bool) {
		f, err := foldersOf(m, deletedPrefix)
		if err != nil {
			yield(nil, err)
			return
		}
		for box, err := range m.Mailboxes() {
			if err != nil {
				yield(nil, err)
				return
			}
			if f.discarded(box) || !f.deleted(box).IsZero() {
				continue
			}
			for r, err := range m.Records(box.UniqueID, 0) {
				if err == nil && r.Expunged != 0 {
					continue
				}
				if !yield(r, err) || err != nil {
					return
				}
			}
		}
	}
}
