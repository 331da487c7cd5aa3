package indexvalue

import (
	"encoding/binary"
	"math"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

const (
	messageMissing = 1 << iota
	messagePrivate
	messageInline
)

const chunkSize = len(history.ChunkID{})

// AppendMessage appends everything of a message but its GUID, which the key contains.
func AppendMessage(dst []byte, m *history.MessageState) []byte {
	var f byte
	if m.Missing {
		f |= messageMissing
	}
	if m.Private {
		f |= messagePrivate
	}
	if m.Inline {
		f |= messageInline
	}
	dst = append(dst, f)
	dst = binary.AppendUvarint(dst, uint64(m.Size))
	dst = binary.AppendUvarint(dst, m.Commit)
	return appendChunks(dst, m.Chunks)
}

// ParseMessage reads the value of the message with this GUID into m. It uses m.Chunks if it
// is large enough.
func ParseMessage(b []byte, g cyrus.GUID, m *history.MessageState) error {
	d := reader{b: b}
	f := d.flags(messageMissing | messagePrivate | messageInline)
	chunks := m.Chunks[:0]
	*m = history.MessageState{Inline: f&messageInline != 0}
	m.GUID, m.Missing, m.Private = g, f&messageMissing != 0, f&messagePrivate != 0
	m.Size = int64(d.number(math.MaxInt64))
	m.Commit = d.uvarint()
	m.Chunks = d.chunks(chunks)
	if m.Missing != (len(m.Chunks) == 0) {
		d.fail()
	}
	if d.whole() {
		return nil
	}
	return d.end("message " + g.String())
}

// MessageMissing reports whether the value is of a message without a body.
func MessageMissing(b []byte) bool { return len(b) > 0 && b[0]&messageMissing != 0 }

// appendChunks appends chunks to the end of a value.
func appendChunks(dst []byte, chunks []history.ChunkID) []byte {
	for i := range chunks {
		dst = append(dst, chunks[i][:]...)
	}
	return dst
}

// chunks reads the rest of a value. It returns nil if nothing is left.
func (r *reader) chunks(into []history.ChunkID) []history.ChunkID {
	n := r.rest() / chunkSize
	if n == 0 {
		return nil
	}
	if cap(into) < n {
		into = make([]history.ChunkID, 0, n)
	}
	into = into[:n]
	for i := range into {
		r.fill(into[i][:])
	}
	return into
}
