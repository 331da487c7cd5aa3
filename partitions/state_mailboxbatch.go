package partitions

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/indexvalue"
)

// maxMailboxBatch is the number of mailboxes that are read at a time. Most users have fewer: their
// mailboxes are one range of the index.
const maxMailboxBatch = 1024

// maxMailboxBytes limits the memory of their values, which have long annotations then. The others
// are read one by one.
const maxMailboxBytes = 4 << 20

// mailboxBatch has the values of mailboxes that follow each other in the order of creation.
type mailboxBatch struct {
	last   index.Key // SeqKey of the last one of a full batch
	ids    []string
	order  []int32  // positions of the ids in ascending order
	values [][2]int // where the value of each begins and ends in buf; zero: not kept, or there is none
	buf    []byte
}

// next replaces the contents with the next mailboxes. more is false after the last ones.
func (b *mailboxBatch) next(s *State) (more bool, err error) {
	from := b.last
	if from != nil {
		from = append(from, 0)
	}
	b.ids, b.buf = b.ids[:0], b.buf[:0]
	for kv, err := range s.t.Range(index.SeqPrefix(s.id), from) {
		if err != nil {
			return false, err
		}
		b.ids = append(b.ids, string(kv.Value))
		if len(b.ids) == maxMailboxBatch {
			b.last, more = slices.Clone(kv.Key), true
			break
		}
	}
	return more, b.read(s)
}

// read reads the values of the ids.
func (b *mailboxBatch) read(s *State) error {
	b.values = append(b.values[:0], make([][2]int, len(b.ids))...)
	b.order = b.order[:0]
	for i := range b.ids {
		b.order = append(b.order, int32(i))
	}
	slices.SortFunc(b.order, func(x, y int32) int { return strings.Compare(b.ids[x], b.ids[y]) })
	done, err := b.readRange(s)
	if err != nil {
		return err
	}
	for _, i := range b.order[done:] {
		err := s.t.Value(index.MailboxKey(s.id, b.ids[i]), func(v []byte) error {
			b.keep(i, v)
			return nil
		})
		if err != nil && !errors.Is(err, index.ErrNotFound) {
			return err
		}
	}
	return nil
}

// readRange reads the mailboxes of the backup in the order of their uniqueids, as long as enough
// of them are wanted. The first done of b.order are then decided.
func (b *mailboxBatch) readRange(s *State) (done int, err error) {
	if len(b.ids) < fewLookups {
		return 0, nil
	}
	prefix, read := index.MailboxKey(s.id, ""), 0
	for kv, err := range s.t.Range(prefix, index.MailboxKey(s.id, b.ids[b.order[0]])) {
		if err != nil {
			return done, err
		}
		id := kv.Key[len(prefix):]
		for done < len(b.order) && b.ids[b.order[done]] <= string(id) {
			if i := b.order[done]; b.ids[i] == string(id) {
				b.keep(i, kv.Value)
			}
			done++
		}
		if read++; done == len(b.order) || read > firstEntries && done*sparse < read {
			return done, nil
		}
	}
	return len(b.order), nil
}

// keep stores a copy of the value of ids[i], if there is room.
func (b *mailboxBatch) keep(i int32, value []byte) {
	from := len(b.buf)
	if from+len(value) > maxMailboxBytes {
		return
	}
	b.buf = append(b.buf, value...)
	b.values[i] = [2]int{from, len(b.buf)}
}

// parse reads the mailbox ids[i] into m.
func (b *mailboxBatch) parse(s *State, i int, m *history.MailboxState) error {
	id := b.ids[i]
	if v := b.values[i]; v[0] < v[1] {
		return indexvalue.ParseMailbox(b.buf[v[0]:v[1]], id, m)
	}
	err := s.t.Value(index.MailboxKey(s.id, id), func(v []byte) error { return indexvalue.ParseMailbox(v, id, m) })
	if errors.Is(err, index.ErrNotFound) {
		return fmt.Errorf("mailbox %s has an order but no state", id)
	}
	return err
}
