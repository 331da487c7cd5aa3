package partitions

import (
	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// finder looks up a message where a backup may refer to it: in the messages that the
// connection has staged, in the backup itself, and in the packs of the partition.
type finder struct {
	g    *Stage
	t    *index.Txn
	st   *State // the backup; nil while it does not exist
	part *Partition
	dead *history.Condemned // packs of part that nothing new may refer to
}

// Message is a message that a record can refer to.
type Message struct {
	Size    int64
	Missing bool // the backup knows the message but has no body
	Lost    bool // missing, although the state still names the place of its body
	Damaged bool // missing, because the backup that the mailbox comes from has lost its body
	chunks  []history.ChunkID
	staged  *stagedMessage        // must be made durable or put inline
	ours    *history.MessageState // set if the backup knows the message already
}

// Known reports whether the backup knows the message already.
func (m *Message) Known() bool { return m.ours != nil }

// find returns nil if the message does not exist anywhere.
func (f *finder) find(g cyrus.GUID) (*Message, error) {
	if m := f.g.msgs[g]; m != nil && (m.inMem || m.part == f.part) {
		m.part = f.part // a message in memory goes to the partition that needs it
		return &Message{Size: m.size, chunks: m.chunks, staged: m}, nil
	}
	var missing *Message
	if f.st != nil {
		m, err := f.st.Message(g)
		if err != nil {
			return nil, err
		}
		if m != nil && !m.Missing {
			held, err := f.st.holds(m)
			if err != nil || held {
				return &Message{Size: m.Size, chunks: m.Chunks, ours: m}, err
			}
		}
		if m != nil {
			missing = &Message{Size: m.Size, ours: m, Missing: true, Lost: !m.Missing}
		}
	}
	if f.part.private() || missing != nil && missing.ours.Private {
		return missing, nil
	}
	m, ok, err := f.part.lookupShared(f.t, g)
	if err != nil {
		return nil, err
	}
	if !ok {
		return missing, nil
	}
	live, err := f.part.allUsable(f.t, f.dead, m.chunks)
	switch {
	case err != nil:
		return nil, err
	case !live && missing == nil:
		return &Message{Size: m.size, Missing: true, Lost: true}, nil // perhaps lost since RESERVE reported it as held
	case !live:
		return missing, nil
	}
	return &Message{Size: m.size, chunks: m.chunks}, nil
}
