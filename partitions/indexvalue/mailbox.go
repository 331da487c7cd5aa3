package indexvalue

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

const (
	mailboxDeleted = 1 << iota
	mailboxMoved
	mailboxResync
)

// AppendMailbox appends everything of a mailbox but its uniqueid, which the key contains.
func AppendMailbox(dst []byte, m *history.MailboxState) []byte {
	var f byte
	if !m.Deleted.IsZero() {
		f |= mailboxDeleted
	}
	if m.MovedTo != "" {
		f |= mailboxMoved
	}
	if m.Resync != "" {
		f |= mailboxResync
	}
	dst = append(dst, f)
	dst = binary.AppendUvarint(dst, m.Seq)
	dst = binary.AppendUvarint(dst, m.Commit)
	dst = binary.AppendUvarint(dst, uint64(m.Records))
	dst = binary.AppendUvarint(dst, uint64(m.Live))
	dst = binary.AppendUvarint(dst, uint64(m.TopUID))
	dst = binary.BigEndian.AppendUint32(dst, m.CRC.Basic)
	dst = binary.BigEndian.AppendUint32(dst, m.CRC.Annot)
	dst = binary.BigEndian.AppendUint32(dst, m.CRC.AnnotPadded)
	dst = appendText(dst, m.Name)
	if f&mailboxDeleted != 0 {
		dst = binary.AppendVarint(dst, m.Deleted.Unix())
		dst = binary.AppendUvarint(dst, uint64(m.Deleted.Nanosecond()))
	}
	if f&mailboxMoved != 0 {
		dst = appendText(dst, m.MovedTo)
	}
	if f&mailboxResync != 0 {
		dst = appendText(dst, m.Resync)
	}
	return appendPairs(dst, m.Fields)
}

// ParseMailbox reads the value of the mailbox with this uniqueid into m. It uses m.Fields if it
// is large enough.
func ParseMailbox(b []byte, uniqueid string, m *history.MailboxState) error {
	d := reader{b: b}
	f := d.flags(mailboxDeleted | mailboxMoved | mailboxResync)
	fields := m.Fields[:0]
	*m = history.MailboxState{
		UniqueID: uniqueid, Seq: d.uvarint(), Commit: d.uvarint(),
		Records: int(d.number(math.MaxInt32)), Live: int(d.number(math.MaxInt32)), TopUID: uint32(d.number(math.MaxUint32)),
	}
	m.CRC.Basic, m.CRC.Annot, m.CRC.AnnotPadded = d.uint32(), d.uint32(), d.uint32()
	m.Name = d.text()
	if f&mailboxDeleted != 0 {
		m.Deleted = time.Unix(d.varint(), int64(d.number(uint64(time.Second-1)))).UTC()
	}
	if f&mailboxMoved != 0 {
		m.MovedTo = d.text()
	}
	if f&mailboxResync != 0 {
		m.Resync = d.text()
	}
	m.Fields = d.pairs(fields, 0)
	if m.Seq == 0 || m.Records < m.Live {
		d.fail()
	}
	if d.whole() {
		return nil
	}
	return d.end("mailbox " + uniqueid)
}

func (r *reader) uint32() uint32 {
	var b [4]byte
	r.fill(b[:])
	return binary.BigEndian.Uint32(b[:])
}
