package cyrus

import (
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// ParseMailbox reads the head of APPLY MAILBOX, or of RESTORE's MAILBOX: its fields in wire
// order, with or without RECORD, which it ignores. The mandatory fields are those of
// imap/sync_support.c (sync_apply_mailbox): an intermediate or deleted mailbox needs only
// UNIQUEID, MBOXNAME and HIGHESTMODSEQ. The caller checks that RECORD is present. An error
// wraps ErrBadParameters.
//
// The strings are not copied; Fields is a new slice.
func ParseMailbox(pairs []dlist.Pair) (*Mailbox, Since, error) {
	f := &fields{v: dlist.KV(pairs...)}
	m := headOf(f)
	if !m.Intermediate() && !m.Deleted() {
		f.date("LAST_APPENDDATE")
		restOf(f, m)
	}
	since := sinceOf(f.v)
	return m, since, bad("MAILBOX", f.err)
}

// ParseReply reads a MAILBOX of a server's reply, where LAST_APPENDDATE may be missing
// (imap/sync_support.c, sync_kl_parse).
func ParseReply(pairs []dlist.Pair) (*Mailbox, error) {
	f := &fields{v: dlist.KV(pairs...)}
	m := headOf(f)
	restOf(f, m)
	return m, bad("MAILBOX", f.err)
}

// headOf reads the fields of every mailbox and the optional members. An optional number
// that does not convert counts as missing, as in Cyrus.
func headOf(f *fields) *Mailbox {
	m := &Mailbox{
		UniqueID:      f.name("UNIQUEID"),
		Name:          f.name("MBOXNAME"),
		HighestModSeq: f.num64("HIGHESTMODSEQ"),
		Fields:        without(f.v.Pairs, "RECORD", "SINCE_MODSEQ", "SINCE_CRC", "SINCE_CRC_ANNOT"),
	}
	m.Type, _, _ = f.v.Text("MBOXTYPE")
	m.Partition, _, _ = f.v.Text("PARTITION")
	m.LastUID, _, _ = f.v.Num32("LAST_UID")
	m.UIDValidity, _, _ = f.v.Num32("UIDVALIDITY")
	m.SyncCRC, _, _ = f.v.Num32("SYNC_CRC")
	m.SyncCRCAnnot, _, _ = f.v.Num32("SYNC_CRC_ANNOT")
	return m
}

// restOf requires the additional fields of a mailbox that can hold messages.
func restOf(f *fields, m *Mailbox) {
	m.LastUID = f.num32("LAST_UID")
	m.UIDValidity = f.num32("UIDVALIDITY")
	m.Partition = f.text("PARTITION")
	f.num32("RECENTUID")
	f.date("RECENTTIME")
	f.date("POP3_LAST_LOGIN")
	f.text("ACL")
	f.text("OPTIONS")
}

func sinceOf(v dlist.Value) Since {
	var s Since
	s.ModSeq, s.Set, _ = v.Num64("SINCE_MODSEQ")
	s.CRC, _, _ = v.Num32("SINCE_CRC")
	s.CRCAnnot, _, _ = v.Num32("SINCE_CRC_ANNOT")
	return s
}

// Deleted reports whether the mailbox is a tombstone (MBOXTYPE with flag d).
func (m *Mailbox) Deleted() bool { return hasTypeFlag(m.Type, 'd') }

// Annotations returns the mailbox's own annotations, the complete set.
func (m *Mailbox) Annotations() ([]Annotation, error) {
	v := dlist.KV(m.Fields...)
	items, _, err := v.List("ANNOTATIONS")
	if err != nil {
		return nil, bad("MAILBOX", err)
	}
	return ParseAnnotations(items)
}
