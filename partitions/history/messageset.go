package history

import (
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// MessageSet is a set of messages that a Mem contains. It takes one bit of memory for each message
// of the Mem. It is valid as long as nothing is applied to the Mem.
type MessageSet struct {
	table *prefixTable
	bits  []uint64 // by the first entry of the table with this hash
	again map[uint64]bool
	exact map[cyrus.GUID]struct{} // messages whose hash in the table is not unique
}

// NewMessageSet returns an empty set of messages of m.
func (m *Mem) NewMessageSet() (*MessageSet, error) {
	if err := m.whole(); err != nil {
		return nil, err
	}
	if err := m.messages.buildTable(); err != nil {
		return nil, err
	}
	t := m.messages.table
	return &MessageSet{table: t, bits: make([]uint64, len(t.entries)/64+1), again: t.repeated(), exact: map[cyrus.GUID]struct{}{}}, nil
}

// Add adds a message, and reports whether the set lacked it. A message that the Mem does not contain
// is not added.
func (s *MessageSet) Add(g cyrus.GUID) bool {
	hash := tableEntry(guidPrefix(g), maxPosition)
	if s.again[hash] {
		_, twice := s.exact[g]
		s.exact[g] = struct{}{}
		return !twice
	}
	i, _ := slices.BinarySearch(s.table.entries, hash)
	if i == len(s.table.entries) || s.table.entries[i]&^maxPosition != hash {
		return false
	}
	bit := uint64(1) << (i % 64)
	twice := s.bits[i/64]&bit != 0
	s.bits[i/64] |= bit
	return !twice
}
