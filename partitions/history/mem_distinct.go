package history

import (
	"iter"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// DistinctMessages yields each message once, in order of its first arrival and in its newest
// form. It takes eight bytes of memory for each message.
func (m *Mem) DistinctMessages() iter.Seq2[*MessageState, error] {
	return func(yield func(*MessageState, error) bool) {
		if err := m.messages.buildTable(); err != nil {
			yield(nil, err)
			return
		}
		again := m.messages.table.repeated()
		seen := map[cyrus.GUID]struct{}{}
		for s, err := range m.Messages() {
			if err == nil && again[tableEntry(guidPrefix(s.GUID), maxPosition)] {
				if _, twice := seen[s.GUID]; twice {
					continue
				}
				seen[s.GUID] = struct{}{}
				s, err = m.Message(s.GUID)
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}
