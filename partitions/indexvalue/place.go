package indexvalue

import (
	"encoding/binary"
	"math"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Shared is a message that any backup of a partition may refer to.
type Shared struct {
	Size   int64
	Chunks []history.ChunkID
	// Pack is the number of the pack that contains the message as a whole, as its only chunk,
	// under its GUID; 0 = each chunk has a ChunkPlace.
	Pack uint64
}

const sharedInPack = 1

// AppendShared appends a shared message.
func AppendShared(dst []byte, m Shared) []byte {
	if m.Pack == 0 {
		dst = binary.AppendUvarint(append(dst, 0), uint64(m.Size))
		return appendChunks(dst, m.Chunks)
	}
	dst = binary.AppendUvarint(append(dst, sharedInPack), uint64(m.Size))
	dst = binary.AppendUvarint(dst, m.Pack)
	return appendChunks(dst, m.Chunks)
}

// ParseShared reads a shared message into m. It uses m.Chunks if it is large enough.
func ParseShared(b []byte, m *Shared) error {
	d := reader{b: b}
	f := d.flags(sharedInPack)
	chunks := m.Chunks[:0]
	*m = Shared{Size: int64(d.number(math.MaxInt64))}
	if f&sharedInPack != 0 {
		m.Pack = d.uvarint()
	}
	m.Chunks = d.chunks(chunks)
	if len(m.Chunks) == 0 || f&sharedInPack != 0 && (m.Pack == 0 || len(m.Chunks) > 1) {
		d.fail()
	}
	return d.end("shared message")
}

// ChunkPlace is the place of a chunk in a pack: the number of the pack and, for a whole
// message, its GUID. A piece has no GUID; its entry is named by the chunk.
type ChunkPlace struct {
	Pack  uint64
	GUID  cyrus.GUID
	Whole bool
}

const chunkWhole = 1

// AppendChunkPlace appends a place in a pack.
func AppendChunkPlace(dst []byte, p ChunkPlace) []byte {
	if !p.Whole {
		return binary.AppendUvarint(append(dst, 0), p.Pack)
	}
	dst = binary.AppendUvarint(append(dst, chunkWhole), p.Pack)
	return append(dst, p.GUID[:]...)
}

// ParseChunkPlace reads a place in a pack.
func ParseChunkPlace(b []byte) (p ChunkPlace, err error) {
	d := reader{b: b}
	p.Whole = d.flags(chunkWhole) != 0
	if p.Pack = d.uvarint(); p.Pack == 0 {
		d.fail()
	}
	if p.Whole {
		d.fill(p.GUID[:])
	}
	return p, d.end("place of a chunk")
}
