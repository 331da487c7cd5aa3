package indexvalue

import (
	"encoding/binary"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/exactjson"
	"github.com/cyrusbackup/backupd/partitions/history"
)

const (
	inlineCommit = 1 << iota // the object is a commit of the backup: its number
	inlineWhole              // the entry is named by a GUID
	inlinePiece              // the entry is named by the chunk
)

const (
	wholeSuffix = ".eml"
	pieceSuffix = ".part"
)

// AppendInline appends the place of a chunk in an object that only one backup may refer to.
// The key contains the chunk.
func AppendInline(dst []byte, backup string, p history.Place) []byte {
	var f byte
	from, to, ok := history.ParseLogKey(backup, p.Object)
	if ok && from == to && history.LogKey(backup, from) == p.Object {
		f |= inlineCommit
	}
	guid, whole := wholeEntry(p.Entry)
	switch {
	case whole:
		f |= inlineWhole
	case p.Entry == p.Chunk.String()+pieceSuffix:
		f |= inlinePiece
	}
	dst = append(dst, f)
	if f&inlineCommit != 0 {
		dst = binary.AppendUvarint(dst, from)
	} else {
		dst = appendText(dst, p.Object)
	}
	switch {
	case whole:
		return append(dst, guid[:]...)
	case f&inlinePiece == 0:
		return appendText(dst, p.Entry)
	}
	return dst
}

// ParseInline reads the place of this chunk of the backup.
func ParseInline(b []byte, backup string, c history.ChunkID) (p history.Place, err error) {
	d := reader{b: b}
	f := d.flags(inlineCommit | inlineWhole | inlinePiece)
	p.Chunk = c
	if f&inlineCommit != 0 {
		p.Object = history.LogKey(backup, d.uvarint())
	} else {
		p.Object = d.text()
	}
	switch {
	case f&inlineWhole != 0:
		var g cyrus.GUID
		d.fill(g[:])
		p.Entry = g.String() + wholeSuffix
	case f&inlinePiece != 0:
		p.Entry = c.String() + pieceSuffix
	default:
		p.Entry = d.text()
	}
	return p, d.end("place in a log")
}

// wholeEntry returns the GUID in the name of an entry that contains a whole message.
func wholeEntry(entry string) (g cyrus.GUID, ok bool) {
	name, ok := strings.CutSuffix(entry, wholeSuffix)
	return g, ok && exactjson.ParseHex(g[:], []byte(name))
}
