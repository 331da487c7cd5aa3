package partitions

import (
	"fmt"
	"iter"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Mailboxes implements history.State.
func (s *State) Mailboxes() iter.Seq2[*history.MailboxState, error] {
	return s.eachMailbox(func() *history.MailboxState { return new(history.MailboxState) })
}

// EachMailbox is Mailboxes in one piece of memory: a mailbox is valid until the loop continues,
// and the caller may change it.
func (s *State) EachMailbox() iter.Seq2[*history.MailboxState, error] {
	var m history.MailboxState
	return s.eachMailbox(func() *history.MailboxState { return &m })
}

// eachMailbox yields the mailboxes in the order of their creation, each in memory from a call of
// state. The index has this order and the states under different keys, so the states are read in
// batches.
func (s *State) eachMailbox(state func() *history.MailboxState) iter.Seq2[*history.MailboxState, error] {
	return func(yield func(*history.MailboxState, error) bool) {
		var b mailboxBatch
		for more := true; more; {
			var err error
			if more, err = b.next(s); err != nil {
				yield(nil, err)
				return
			}
			for i := range b.ids {
				m := state()
				if err := b.parse(s, i, m); err != nil {
					yield(nil, fmt.Errorf("index of %s: %w", s.path, err))
					return
				}
				if !yield(m, nil) {
					return
				}
			}
		}
	}
}
