package partitions

import (
	"fmt"
	"iter"
	"slices"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/indexvalue"
)

// mailboxBatch is the number of mailboxes that Mailboxes reads at a time.
const mailboxBatch = 256

// Mailboxes implements history.State. The index has the order of creation and the states
// under different keys, so the states are looked up in batches.
func (s *State) Mailboxes() iter.Seq2[*history.MailboxState, error] {
	return func(yield func(*history.MailboxState, error) bool) {
		var from index.Key
		for {
			seqs, ids, err := s.nextMailboxes(from)
			var list []*history.MailboxState
			if err == nil {
				list, err = s.mailboxes(ids)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for _, m := range list {
				if !yield(m, nil) {
					return
				}
			}
			if len(ids) < mailboxBatch {
				return
			}
			from = append(seqs, 0)
		}
	}
}

// nextMailboxes returns the uniqueids of the next mailboxes from a SeqKey on, and the last
// SeqKey.
func (s *State) nextMailboxes(from index.Key) (last index.Key, ids []string, err error) {
	for kv, err := range s.t.Range(index.SeqPrefix(s.id), from) {
		if err != nil {
			return nil, nil, err
		}
		ids = append(ids, string(kv.Value))
		if len(ids) == mailboxBatch {
			return slices.Clone(kv.Key), ids, nil
		}
	}
	return nil, ids, nil
}

// mailboxes returns the mailboxes with these uniqueids, in the order of the list.
func (s *State) mailboxes(ids []string) ([]*history.MailboxState, error) {
	keys := make([]index.Key, len(ids))
	for i, id := range ids {
		keys[i] = index.MailboxKey(s.id, id)
	}
	states := make([]history.MailboxState, len(ids))
	out := make([]*history.MailboxState, len(ids))
	err := s.t.GetAll(keys, func(i int, b []byte) error {
		out[i] = &states[i]
		return indexvalue.ParseMailbox(b, ids[i], out[i])
	})
	if err != nil {
		return nil, fmt.Errorf("index of %s: %w", s.path, err)
	}
	for i, m := range out {
		if m == nil {
			return nil, fmt.Errorf("index of %s: mailbox %s has an order but no state", s.path, ids[i])
		}
	}
	return out, nil
}
