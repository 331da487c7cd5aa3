package cyrus

import "github.com/cyrusbackup/backupd/internal/cyrus/dlist"

// The parsers below read the argument of an APPLY or GET. They require all fields that
// Cyrus requires (imap/sync_support.c, in the function of each name). Errors wrap
// ErrBadParameters.

// ParseSeen reads APPLY SEEN (sync_apply_seen).
func ParseSeen(v dlist.Value) (Seen, error) {
	f := fieldsOf("SEEN", v)
	s := Seen{UserID: f.name("USERID"), UniqueID: f.name("UNIQUEID")}
	f.date("LASTREAD")
	f.num32("LASTUID")
	f.date("LASTCHANGE")
	f.text("SEENUIDS")
	s.Fields = without(v.Pairs, "USERID")
	return s, bad("SEEN", f.err)
}

// ParseQuota reads APPLY QUOTA (sync_apply_quota).
func ParseQuota(v dlist.Value) (Quota, error) {
	f := fieldsOf("QUOTA", v)
	q := Quota{Root: f.name("ROOT"), Fields: v.Pairs}
	return q, bad("QUOTA", f.err)
}

// ParseSieve reads APPLY SIEVE (sync_apply_sieve).
func ParseSieve(v dlist.Value) (Sieve, error) {
	f := fieldsOf("SIEVE", v)
	s := Sieve{UserID: f.name("USERID"), Filename: f.name("FILENAME"), LastUpdate: f.date("LAST_UPDATE")}
	if c := f.buf("CONTENT"); c != nil {
		s.Content = *c
	}
	s.Extra = without(v.Pairs, "USERID", "FILENAME", "LAST_UPDATE", "CONTENT")
	return s, bad("SIEVE", f.err)
}

// ParseUserFile reads UNSIEVE, ACTIVATE_SIEVE and GET FETCH_SIEVE (sync_apply_unsieve).
func ParseUserFile(v dlist.Value) (userid, filename string, err error) {
	f := fieldsOf("SIEVE", v)
	userid, filename = f.name("USERID"), f.name("FILENAME")
	return userid, filename, bad("SIEVE", f.err)
}

// ParseUser reads UNACTIVATE_SIEVE (sync_apply_unactivate_sieve).
func ParseUser(v dlist.Value) (userid string, err error) {
	f := fieldsOf("SIEVE", v)
	userid = f.name("USERID")
	return userid, bad("SIEVE", f.err)
}

// ParseSub reads SUB and UNSUB (sync_apply_changesub).
func ParseSub(v dlist.Value) (userid, mailbox string, err error) {
	f := fieldsOf("SUB", v)
	userid, mailbox = f.name("USERID"), f.name("MBOXNAME")
	return userid, mailbox, bad("SUB", f.err)
}

// ParseRename reads APPLY RENAME (sync_apply_rename); UIDVALIDITY is optional.
func ParseRename(v dlist.Value) (Rename, error) {
	f := fieldsOf("RENAME", v)
	r := Rename{Old: f.name("OLDMBOXNAME"), New: f.name("NEWMBOXNAME"), Partition: f.text("PARTITION")}
	r.UIDValidity, _, _ = v.Num32("UIDVALIDITY")
	return r, bad("RENAME", f.err)
}

// ParseFetch reads GET FETCH (sync_get_message).
func ParseFetch(v dlist.Value) (Fetch, error) {
	f := fieldsOf("FETCH", v)
	m := Fetch{Name: f.name("MBOXNAME"), Partition: f.text("PARTITION"), UniqueID: f.name("UNIQUEID"),
		GUID: f.guid("GUID"), UID: f.num32("UID")}
	return m, bad("FETCH", f.err)
}

// ParseExpunge reads APPLY EXPUNGE (sync_apply_expunge).
func ParseExpunge(v dlist.Value) (name, uniqueid string, uids []uint32, err error) {
	f := fieldsOf("EXPUNGE", v)
	name, uniqueid = f.name("MBOXNAME"), f.name("UNIQUEID")
	items := f.list("UID")
	uids = make([]uint32, 0, len(items))
	for _, it := range items {
		n, err := dlist.ParseNum("UID", it.Str, 1<<32-1)
		f.check("UID", true, err)
		uids = append(uids, uint32(n))
	}
	return name, uniqueid, uids, bad("EXPUNGE", f.err)
}

// ParseReserve reads APPLY RESERVE (sync_apply_reserve).
func ParseReserve(v dlist.Value) (partition string, names []string, guids []GUID, err error) {
	f := fieldsOf("RESERVE", v)
	partition, names = f.text("PARTITION"), f.texts("MBOXNAME")
	items := f.list("GUID")
	guids = make([]GUID, 0, len(items))
	for _, it := range items {
		g, err := ParseGUID(it.Str)
		if err != nil && f.err == nil {
			f.err = err
		}
		guids = append(guids, g)
	}
	return partition, names, guids, bad("RESERVE", f.err)
}

// ParseMailboxAnnotation reads APPLY ANNOTATION (sync_apply_annotation).
func ParseMailboxAnnotation(v dlist.Value) (MailboxAnnotation, error) {
	f := fieldsOf("ANNOTATION", v)
	a := MailboxAnnotation{Mailbox: f.nameOrEmpty("MBOXNAME"), Entry: f.name("ENTRY"), UserID: f.nameOrEmpty("USERID"), Value: f.buf("VALUE")}
	return a, bad("ANNOTATION", f.err)
}

// ParseUnannotation reads APPLY UNANNOTATION (sync_apply_unannotation).
func ParseUnannotation(v dlist.Value) (mailbox, entry, userid string, err error) {
	f := fieldsOf("UNANNOTATION", v)
	mailbox, entry, userid = f.nameOrEmpty("MBOXNAME"), f.name("ENTRY"), f.nameOrEmpty("USERID")
	return mailbox, entry, userid, bad("UNANNOTATION", f.err)
}

// DList returns a in the form of GET ANNOTATION and APPLY ANNOTATION.
func (a MailboxAnnotation) DList() dlist.Value {
	return dlist.KV(dlist.P("MBOXNAME", dlist.S(a.Mailbox)), dlist.P("ENTRY", dlist.S(a.Entry)),
		dlist.P("USERID", dlist.S(a.UserID)), dlist.P("VALUE", nullable(a.Value)))
}

// DList returns s in the form of APPLY SEEN.
func (s Seen) DList() dlist.Value {
	return dlist.KV(append([]dlist.Pair{dlist.P("USERID", dlist.S(s.UserID))}, s.Fields...)...)
}

// DList returns s in the form of APPLY SIEVE.
func (s Sieve) DList() dlist.Value {
	return dlist.KV(append([]dlist.Pair{dlist.P("USERID", dlist.S(s.UserID)), dlist.P("FILENAME", dlist.S(s.Filename)),
		dlist.P("LAST_UPDATE", dlist.N(uint64(s.LastUpdate))), dlist.P("CONTENT", dlist.S(s.Content))}, s.Extra...)...)
}
