package session

import (
	"strconv"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// The functions below report the state to a client in the exact lines after which the client
// sends nothing (client-behaviour.md 5).

// reportMailbox reports a live mailbox. It reports a mailbox as empty if the mailbox is in
// resync or its missing bodies are due to be requested again. The client then sends it whole.
func (x *Session) reportMailbox(st *partitions.State, b *partitions.Backup, h *heldBackup, m *history.MailboxState, out emit) error {
	delete(h.reported, m.UniqueID) // the client believes the last answer
	if !m.Deleted.IsZero() {
		return nil
	}
	ask := m.Resync != ""
	if !ask {
		var err error
		if ask, err = x.askAgain(st, b, h, m); err != nil {
			return err
		}
	}
	if ask {
		h.reported[m.UniqueID] = 0
		return out("MAILBOX", dlist.KV(emptyFields(m)...))
	}
	h.reported[m.UniqueID] = modSeqOf(m)
	return out("MAILBOX", dlist.KV(mailboxFields(m)...))
}

// mandatory lists the fields that a client requires in a reply (imap/sync_support.c:
// sync_kl_parse). The client sends only a few of them for an intermediate mailbox.
var mandatory = [...]struct{ key, value string }{
	{"LAST_UID", "0"}, {"HIGHESTMODSEQ", "0"}, {"RECENTUID", "0"}, {"RECENTTIME", "0"}, {"LAST_APPENDDATE", "0"},
	{"POP3_LAST_LOGIN", "0"}, {"POP3_SHOW_AFTER", "0"}, {"UIDVALIDITY", "0"}, {"PARTITION", ""}, {"ACL", ""}, {"OPTIONS", ""},
}

// mailboxFields returns the fields of a mailbox for the wire: as the client sent them, but
// with the CRCs of our records. It takes over m.Fields, which the caller may not use afterwards.
func mailboxFields(m *history.MailboxState) []dlist.Pair {
	out := m.Fields[:0]
	basic, annot := reportedCRC(m)
	for _, f := range m.Fields {
		switch f.Key {
		case "FOLDERMODSEQ", "RACLMODSEQ":
			// The client would merge these counters into its own. The backup must never
			// change the source (design.md, promise 9).
			continue
		case "SYNC_CRC":
			setNumber(&f.Value, basic)
		case "SYNC_CRC_ANNOT":
			setNumber(&f.Value, annot)
		}
		out = append(out, f)
	}
	return withMandatory(out)
}

// setNumber makes v a number. It keeps v if it is the same already, as it is for most mailboxes.
func setNumber(v *dlist.Value, n uint32) {
	var digits [10]byte
	if v.Kind != dlist.String || v.Str != string(strconv.AppendUint(digits[:0], uint64(n), 10)) {
		*v = dlist.N(uint64(n))
	}
}

// withMandatory adds the mandatory fields that are missing.
func withMandatory(fields []dlist.Pair) []dlist.Pair {
	own, from := fields, 0
	for _, m := range mandatory {
		at := indexFrom(own, m.key, from)
		if at < 0 {
			fields = append(fields, dlist.P(m.key, dlist.S(m.value)))
			continue
		}
		from = at + 1
	}
	return fields
}

// indexFrom returns the position of a field, or -1. It searches from a position on, and then from
// the start: clients send the mandatory fields in one order.
func indexFrom(fields []dlist.Pair, key string, from int) int {
	for i := range fields {
		if at := (from + i) % len(fields); fields[at].Key == key {
			return at
		}
	}
	return -1
}

// identity lists the fields that identify a mailbox. They are reported even if nothing else
// is.
var identity = map[string]bool{
	"UNIQUEID": true, "MBOXNAME": true, "MBTYPE": true, "PARTITION": true, "ACL": true, "OPTIONS": true, "QUOTAROOT": true,
}

// emptyFields returns the fields of a mailbox without messages. The client then asks with
// RESERVE which messages we hold, which it does not do for a user of whom nothing is reported,
// and sends all records without SINCE_*. If the source has cleaned up expunged messages, the
// client asks for FULLMAILBOX first. An equally empty answer changes nothing there, because no
// counter is above its own (imap/sync_support.c: mailbox_full_update; client-behaviour.md 1,
// a9, f3 and f4).
func emptyFields(m *history.MailboxState) []dlist.Pair {
	out := make([]dlist.Pair, 0, len(identity)+len(mandatory)+2)
	for _, f := range m.Fields {
		if identity[f.Key] {
			out = append(out, f)
		}
	}
	out = append(out, dlist.P("SYNC_CRC", dlist.N(0)), dlist.P("SYNC_CRC_ANNOT", dlist.N(0)))
	return withMandatory(out)
}

// reportedCRC returns the CRCs of our records. The annotation CRC has two forms, and the
// client's release uses one of them (replication-protocol.md 8).
func reportedCRC(m *history.MailboxState) (basic, annot uint32) {
	if uint32(number(m.Fields, "SYNC_CRC_ANNOT")) == m.CRC.AnnotPadded || number(m.Fields, "VERSION") >= 20 {
		return m.CRC.Basic, m.CRC.AnnotPadded
	}
	return m.CRC.Basic, m.CRC.Annot
}

func reportQuotas(st *partitions.State, out emit) error {
	for i, err := range st.Items("quota") {
		if err != nil {
			return err
		}
		if !i.Deleted.IsZero() {
			continue
		}
		if err := reportQuota(i, out); err != nil {
			return err
		}
	}
	return nil
}

func reportQuota(i *history.ItemState, out emit) error {
	e, ok := i.Event.(*history.QuotaEvent)
	if !ok {
		return nil
	}
	return out("QUOTA", dlist.KV(e.Fields...))
}

// reportMeta reports seen state, subscriptions and scripts.
func reportMeta(st *partitions.State, userid string, out emit) error {
	for i, err := range st.Items("seen") {
		if err != nil {
			return err
		}
		if e, ok := i.Event.(*history.SeenEvent); ok && i.Deleted.IsZero() {
			if err := out("SEEN", dlist.KV(e.Fields...)); err != nil {
				return err
			}
		}
	}
	if err := reportSubs(st, out); err != nil {
		return err
	}
	return reportSieve(st, userid, out)
}

// subsPerLine limits the names in an LSUB line. The client merges several lines.
const subsPerLine = 1000

func reportSubs(st *partitions.State, out emit) error {
	var names []dlist.Value
	for i, err := range st.Items("sub") {
		if err != nil {
			return err
		}
		e, ok := i.Event.(*history.SubEvent)
		if !ok || !i.Deleted.IsZero() || !e.Subscribed {
			continue
		}
		if names = append(names, dlist.S(e.Name)); len(names) == subsPerLine {
			if err := out("LSUB", dlist.L(names...)); err != nil {
				return err
			}
			names = nil
		}
	}
	if len(names) == 0 {
		return nil
	}
	return out("LSUB", dlist.L(names...))
}

// reportSieve reports each script. It reports the active script a second time as its compiled
// file, without a GUID, because otherwise the client would activate it each time
// (imap/sync_support.c: list_gen_cb).
func reportSieve(st *partitions.State, userid string, out emit) error {
	for i, err := range st.Items("sieve") {
		if err != nil {
			return err
		}
		e, ok := i.Event.(*history.SieveEvent)
		if !ok || !i.Deleted.IsZero() {
			continue
		}
		if err := out("SIEVE", sieveLine(e.Filename, e.LastUpdate, e.GUID.String(), "0")); err != nil {
			return err
		}
	}
	active, err := activeScript(st, userid)
	if err != nil || active == "" {
		return err
	}
	return out("SIEVE", sieveLine(active, 0, strings.Repeat("0", 40), "1"))
}

func sieveLine(filename string, update int64, guid, active string) dlist.Value {
	return dlist.KV(
		dlist.P("FILENAME", dlist.S(filename)), dlist.P("LAST_UPDATE", dlist.S(strconv.FormatInt(update, 10))),
		dlist.P("GUID", dlist.S(guid)), dlist.P("ISACTIVE", dlist.S(active)))
}
