package partitions

import (
	"bytes"
	"slices"
	"sync/atomic"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// recentPacks has the messages of the packs that this process has put last. A client names them
// soon afterwards, and they need not be looked up in the index, which has them too.
type recentPacks struct {
	list atomic.Pointer[[]*recentPack] // oldest first; the list and the packs never change
}

// recentPack is a pack in the index.
type recentPack struct {
	number   uint64
	losses   lossState       // of the partition, before the put
	messages []recentMessage // by GUID
}

type recentMessage struct {
	guid  cyrus.GUID
	chunk history.ChunkID
	size  int64
}

const (
	// maxRecent limits the messages in memory, which take 60 bytes each: as many as a pack has at
	// most.
	maxRecent = maxPackChunks
	// maxRecentPacks limits what a lookup costs, because each pack is asked. Packs of large
	// messages have few.
	maxRecentPacks = 32
)

// add adds a pack that the index has now, and forgets the oldest ones.
func (r *recentPacks) add(p *openPack, chunks []packedChunk) {
	n := &recentPack{number: p.number, losses: p.losses, messages: make([]recentMessage, 0, len(chunks))}
	for i := range chunks {
		if c := &chunks[i]; c.whole && !c.private {
			n.messages = append(n.messages, recentMessage{c.guid, c.id, c.size})
		}
	}
	if len(n.messages) == 0 {
		return
	}
	slices.SortFunc(n.messages, func(a, b recentMessage) int { return bytes.Compare(a.guid[:], b.guid[:]) })
	for {
		old := r.list.Load()
		next := append(kept(old, maxRecent-len(n.messages)), n)
		if r.list.CompareAndSwap(old, &next) {
			return
		}
	}
}

// kept returns a new list of the newest packs with at most this many messages, with room for one
// more pack.
func kept(list *[]*recentPack, most int) []*recentPack {
	if list == nil {
		return nil
	}
	from, least := len(*list), max(0, len(*list)-maxRecentPacks+1)
	for from > least && len((*list)[from-1].messages) <= most {
		from--
		most -= len((*list)[from].messages)
	}
	return slices.Clone((*list)[from:])
}

// since returns the packs that were put while nothing of the partition was lost: those with this
// state.
func (r *recentPacks) since(now lossState) []*recentPack {
	list := r.list.Load()
	if list == nil {
		return nil
	}
	if !slices.ContainsFunc(*list, func(p *recentPack) bool { return p.losses != now }) {
		return *list
	}
	return slices.DeleteFunc(slices.Clone(*list), func(p *recentPack) bool { return p.losses != now })
}

// forget forgets all packs.
func (r *recentPacks) forget() { r.list.Store(nil) }

// find returns a message.
func (p *recentPack) find(g cyrus.GUID) *recentMessage {
	i, ok := slices.BinarySearchFunc(p.messages, g, func(m recentMessage, g cyrus.GUID) int { return bytes.Compare(m.guid[:], g[:]) })
	if !ok {
		return nil
	}
	return &p.messages[i]
}
