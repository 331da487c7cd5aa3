package history

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// plainState is the simplest State: plain maps. Mem must behave like it.
type plainState struct {
	seq       uint64
	mailboxes map[string]*MailboxState
	records   map[string]map[uint32]*RecordState
	items     map[ItemKey]*ItemState
	messages  []*MessageState
}

func newPlain() *plainState {
	return &plainState{seq: 1, mailboxes: map[string]*MailboxState{}, records: map[string]map[uint32]*RecordState{}, items: map[ItemKey]*ItemState{}}
}

func values[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range list {
			if !yield(v, nil) {
				return
			}
		}
	}
}

func (p *plainState) Mailbox(u string) (*MailboxState, error) { return p.mailboxes[u], nil }

func (p *plainState) MailboxByName(name string) (*MailboxState, error) {
	for _, m := range p.mailboxes {
		if m.Name == name && m.Deleted.IsZero() {
			return m, nil
		}
	}
	return nil, nil
}

func (p *plainState) Mailboxes() iter.Seq2[*MailboxState, error] {
	return values(slices.SortedFunc(maps.Values(p.mailboxes), func(a, b *MailboxState) int { return cmp.Compare(a.Seq, b.Seq) }))
}

func (p *plainState) PutMailbox(m *MailboxState) error {
	p.mailboxes[m.UniqueID] = m
	return nil
}

func (p *plainState) Record(u string, uid uint32) (*RecordState, error) {
	return p.records[u][uid], nil
}

func (p *plainState) Records(u string, from uint32) iter.Seq2[*RecordState, error] {
	list := slices.SortedFunc(maps.Values(p.records[u]), func(a, b *RecordState) int { return cmp.Compare(a.UID, b.UID) })
	return values(slices.DeleteFunc(list, func(r *RecordState) bool { return r.UID < from }))
}

func (p *plainState) PutRecord(u string, r *RecordState) error {
	if p.records[u] == nil {
		p.records[u] = map[uint32]*RecordState{}
	}
	p.records[u][r.UID] = r
	return nil
}

func (p *plainState) Message(g cyrus.GUID) (*MessageState, error) {
	for _, m := range slices.Backward(p.messages) {
		if m.GUID == g {
			return m, nil
		}
	}
	return nil, nil
}

func (p *plainState) PutMessage(m *MessageState) error {
	p.messages = append(p.messages, m)
	return nil
}

func (p *plainState) Item(k ItemKey) (*ItemState, error) { return p.items[k], nil }

func (p *plainState) Items(kind string) iter.Seq2[*ItemState, error] {
	list := slices.SortedFunc(maps.Values(p.items), func(a, b *ItemState) int {
		return cmp.Or(cmp.Compare(a.Key.A, b.Key.A), cmp.Compare(a.Key.B, b.Key.B), cmp.Compare(a.Key.C, b.Key.C))
	})
	return values(slices.DeleteFunc(list, func(i *ItemState) bool { return i.Key.Kind != kind }))
}

func (p *plainState) PutItem(i *ItemState) error {
	p.items[i.Key] = i
	return nil
}

func (p *plainState) DropMailbox(u string) error {
	delete(p.mailboxes, u)
	delete(p.records, u)
	return nil
}

func (p *plainState) DropRecord(u string, uid uint32) error {
	delete(p.records[u], uid)
	return nil
}

func (p *plainState) DropItem(k ItemKey) error {
	delete(p.items, k)
	return nil
}

func (p *plainState) KeepMessages(keep func(*MessageState) bool) error {
	p.messages = slices.DeleteFunc(p.messages, func(m *MessageState) bool { return !keep(m) })
	return nil
}

func (p *plainState) NextSeq() (uint64, error) { return p.seq, nil }

func (p *plainState) PutNextSeq(n uint64) error {
	p.seq = n
	return nil
}

func (p *plainState) each(fn func(*MessageState) error) error {
	for _, m := range p.messages {
		if err := fn(m); err != nil {
			return err
		}
	}
	return nil
}
