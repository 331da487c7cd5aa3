package cyrus

import (
	"hash/crc32"
	"strconv"
	"strings"
)

// emptyAnnot is the annotation CRC of a mailbox without annotations
// (imap/mailbox.c, CRC_INIT_ANNOT).
const emptyAnnot = 12345678

// thridEntry is the virtual annotation whose text differs between Cyrus releases.
const thridEntry = "/vendor/cmu/cyrus-imapd/thrid"

// CRC is the pair of checksums over a mailbox's records that a client computes and sends as
// SYNC_CRC and SYNC_CRC_ANNOT (imap/mailbox.c, crc_basic, crc_annot, crc_virtannot). It is
// an XOR of the records' checksums: the order does not matter and Remove undoes Add. Use
// NewCRC. Annotations of the mailbox itself do not count.
type CRC struct {
	Basic uint32
	Annot uint32 // thrid without leading zeros, as in Cyrus 3.6 to 3.12
	// AnnotPadded is Annot with thrid as 16 digits, as in Cyrus since mailboxes have a
	// VERSION field (3.13 development).
	AnnotPadded uint32
}

// NewCRC returns the checksums of an empty mailbox.
func NewCRC() CRC { return CRC{Annot: emptyAnnot, AnnotPadded: emptyAnnot} }

// Add adds a record. Expunged records do not count.
func (c *CRC) Add(r *Record) { c.AddIn(new(CRCMemory), r) }

// CRCMemory is memory for AddIn, because arguments of crc32 escape to the heap.
type CRCMemory [256]byte

// AddIn is Add with memory that the caller reuses.
func (c *CRC) AddIn(memory *CRCMemory, r *Record) {
	if r.Expunged() {
		return
	}
	buf := memory[:0]
	c.Basic ^= r.basicCRC(buf)
	for i := range r.Annotations {
		plain, padded := r.Annotations[i].crc(buf, r.UID)
		c.Annot ^= plain
		c.AnnotPadded ^= padded
	}
}

// Remove removes a record that was added.
func (c *CRC) Remove(r *Record) { c.Add(r) }

// Equal compares with the checksums from a client: a 0 on either side matches everything
// (imap/mailbox.c, mailbox_crceq), and so does either form of thrid.
func (c CRC) Equal(basic, annot uint32) bool {
	return crcEqual(c.Basic, basic) && (crcEqual(c.Annot, annot) || crcEqual(c.AnnotPadded, annot))
}

func crcEqual(a, b uint32) bool { return a == 0 || b == 0 || a == b }

// basicCRC is the checksum of "uid modseq last_updated (flagcrc) internaldate guid".
func (r *Record) basicCRC(buf []byte) uint32 {
	flags := flagCRC(buf, r.Flags)
	b := strconv.AppendUint(buf[:0], uint64(r.UID), 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, r.ModSeq, 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(r.LastUpdated), 10)
	b = append(b, " ("...)
	b = strconv.AppendUint(b, uint64(flags), 10)
	b = append(b, ") "...)
	b = strconv.AppendUint(b, uint64(r.InternalDate), 10)
	b = append(b, ' ')
	b = r.GUID.appendHex(b)
	return crc32.ChecksumIEEE(b)
}

// flagCRC is the XOR of the checksums of the flags in ASCII lower case.
// \Expunged never counts.
func flagCRC(buf []byte, flags []string) uint32 {
	var sum uint32
	for _, f := range flags {
		b := append(buf[:0], f...)
		for i, c := range b {
			if c >= 'A' && c <= 'Z' {
				b[i] = c + 'a' - 'A'
			}
		}
		if string(b) != `\expunged` {
			sum ^= crc32.ChecksumIEEE(b)
		}
	}
	return sum
}

// crc is the checksum of "uid entry userid value", with both forms of thrid. An empty value
// does not count, like in Cyrus's incremental update.
func (a *Annotation) crc(buf []byte, uid uint32) (plain, padded uint32) {
	if a.Value == nil || *a.Value == "" {
		return 0, 0
	}
	b := strconv.AppendUint(buf[:0], uint64(uid), 10)
	b = append(b, ' ')
	b = append(b, a.Entry...)
	b = append(b, ' ')
	b = append(b, a.UserID...)
	b = append(b, ' ')
	head := len(b)
	padded = crc32.ChecksumIEEE(append(b, *a.Value...))
	if a.Entry != thridEntry || a.UserID != "" {
		return padded, padded
	}
	v := strings.TrimLeft(*a.Value, "0")
	if v == "" {
		v = "0" // printed as %llx
	}
	return crc32.ChecksumIEEE(append(b[:head], v...)), padded
}
