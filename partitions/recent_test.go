package partitions

import (
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

func recentChunks(first, n int) []packedChunk {
	list := make([]packedChunk, n)
	for i := range list {
		g := cyrus.GUID{byte(i * 7), byte(first), byte(i), byte(i >> 8)}
		list[i] = packedChunk{id: history.ChunkID{byte(i), byte(first)}, guid: g, whole: true, size: int64(i)}
	}
	return list
}

// Each message of the newest packs is found, and memory is bounded.
func TestRecentPacks(t *testing.T) {
	var r recentPacks
	const n = maxRecent / 4
	for i := range 6 {
		r.add(&openPack{number: uint64(i + 1)}, recentChunks(i, n))
	}
	list := r.since(lossState{})
	if len(list) != 4 || list[0].number != 3 || list[3].number != 6 {
		t.Fatalf("%d packs are kept, want the newest four", len(list))
	}
	for i, p := range list {
		for _, c := range recentChunks(i+2, n) {
			if m := p.find(c.guid); m == nil || m.chunk != c.id || m.size != c.size {
				t.Fatalf("pack %d: message %s is %v", p.number, c.guid, m)
			}
		}
		if p.find(recentChunks(0, 1)[0].guid) != nil {
			t.Errorf("pack %d has a message of another one", p.number)
		}
	}
	r.forget()
	if r.since(lossState{}) != nil {
		t.Error("the packs are not forgotten")
	}
}

// A pack that was put before something of the partition was lost does not count, and nor do
// pieces and private messages.
func TestRecentPacksAfterALoss(t *testing.T) {
	var r recentPacks
	before, after := lossState{epoch: 1}, lossState{epoch: 2}
	r.add(&openPack{number: 1, losses: before}, recentChunks(1, 3))
	chunks := recentChunks(2, 3)
	chunks[1].private, chunks[2].whole = true, false
	r.add(&openPack{number: 2, losses: after}, chunks)
	list := r.since(after)
	if len(list) != 1 || list[0].number != 2 || len(list[0].messages) != 1 {
		t.Errorf("%d packs count, want the second one, with one message", len(list))
	}
}

// Packs of a few large messages, and of pieces only, do not make a lookup ask ever more packs.
func TestRecentPacksOfLargeMessages(t *testing.T) {
	var r recentPacks
	pieces := recentChunks(1, 3)
	for i := range pieces {
		pieces[i].whole = false
	}
	r.add(&openPack{number: 1}, recentChunks(0, 3))
	for i := range 1000 {
		r.add(&openPack{number: uint64(i + 2)}, pieces)
	}
	if list := r.since(lossState{}); len(list) != 1 || list[0].number != 1 {
		t.Errorf("%d packs are kept, want the only one with messages", len(list))
	}
	for i := range 1000 {
		r.add(&openPack{number: uint64(i + 2000)}, recentChunks(i, 8))
	}
	if list := r.since(lossState{}); len(list) > 64 || list[len(list)-1].number != 2999 {
		t.Errorf("%d packs are kept, the last one is %d", len(list), list[len(list)-1].number)
	}
}
