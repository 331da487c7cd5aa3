package csync

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"backupd/internal/restore"
	"backupd/replication/cyrus"
)

// maxKeywords is how many keywords a mailbox has room for (imap/mailbox.h, MAX_USER_FLAGS).
const maxKeywords = 128

// fitting makes records what a Cyrus server can hold. It counts what that changes.
type fitting struct {
	exact    bool // with uids and dates, by APPLY; else by RESTORE
	keywords map[string]bool
	lost     []*loss
}

// loss is a change that records need, and how many.
type loss struct {
	what  string
	n     int
	first uint32 // uid
}

// add counts a change of a record.
func (f *fitting) add(m *restore.Message, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	i := slices.IndexFunc(f.lost, func(l *loss) bool { return l.what == what })
	if i < 0 {
		i = len(f.lost)
		f.lost = append(f.lost, &loss{what: what, first: m.UID})
	}
	f.lost[i].n++
}

// fit changes what of a message Cyrus cannot hold to the nearest thing that it can.
func (f *fitting) fit(m *restore.Message) {
	f.dates(m)
	var flags []string
	for _, name := range m.Flags {
		if f.flag(m, name) && !slices.ContainsFunc(flags, func(o string) bool { return strings.EqualFold(o, name) }) {
			flags = append(flags, name)
		}
	}
	m.Flags = flags
}

// dates: the index has 32 bits without a sign for each (imap/mailbox.c,
// mailbox_buf_to_index_record).
func (f *fitting) dates(m *restore.Message) {
	switch d := m.InternalDate; {
	case d < 0:
		f.add(m, "a date before 1970 becomes %s", date(1))
		m.InternalDate = 1
	case d > math.MaxUint32:
		f.add(m, "a date after %s becomes that", date(math.MaxUint32))
		m.InternalDate = math.MaxUint32
	case d == 0 && !f.exact:
		// The server would put the present time in its place (mailbox_append_index_record).
		f.add(m, "the date %s becomes %s", date(0), date(1))
		m.InternalDate = 1
	}
	if l := m.LastUpdated; f.exact && (l < 0 || l > math.MaxUint32) {
		f.add(m, "a time of the last change that has more than 32 bits becomes %s", date(math.MaxUint32))
		m.LastUpdated = math.MaxUint32
	}
}

// flag says whether a mailbox can have a flag.
func (f *fitting) flag(m *restore.Message, name string) bool {
	switch {
	case isSystemFlag(name):
		return true
	case strings.HasPrefix(name, `\`):
		f.add(m, "Cyrus has no system flag %q, it is left out", name)
		return false
	case !isAtom(name):
		f.add(m, "Cyrus has no keyword %q (it is no atom), it is left out", name)
		return false
	}
	key := strings.ToLower(name)
	if f.keywords[key] {
		return true
	}
	if len(f.keywords) >= maxKeywords {
		f.add(m, "keyword %q is left out: a mailbox has no more than %d", name, maxKeywords)
		return false
	}
	f.keywords[key] = true
	return true
}

// isSystemFlag says that Cyrus replicates a system flag (imap/sync_support.c, sync_getflags).
func isSystemFlag(name string) bool {
	switch strings.ToLower(name) {
	case `\seen`, `\answered`, `\flagged`, `\deleted`, `\draft`:
		return true
	}
	return false
}

// isAtom is what Cyrus takes for a keyword (lib/imparse.c, imparse_isatom).
func isAtom(s string) bool {
	if s == "" || len(s) >= 1024 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x1f || r >= 0x7f || strings.ContainsRune(` {()"%*\`, r) })
}

// plan leaves out what the server cannot have at all, and reports what changes.
func (w *work) plan(exact bool) error {
	w.fitting = &fitting{exact: exact, keywords: map[string]bool{}}
	var list []restore.Ref
	for _, ref := range w.list {
		m, err := w.message(ref)
		if err != nil {
			return err
		}
		size, err := w.d.src.Held(m.GUID)
		if err == nil && size == 0 { // it would end sync_server (mailbox_append_index_record)
			w.fitting.add(m, "Cyrus holds no message without a byte: it is left out")
			continue
		}
		list = append(list, ref)
	}
	w.list = list
	if exact && w.there == nil && num(w.f.From.Fields, "UIDVALIDITY") == 0 {
		w.d.rep.Fail(fmt.Errorf("%s: its uidvalidity is 0, and no mailbox can have that: it gets a new one", w.f.Name))
	}
	for _, l := range w.fitting.lost {
		w.d.rep.Fail(l.err(w.f.Name))
	}
	w.fitting.lost = nil
	return nil
}

func (l *loss) err(folder string) error {
	if l.n == 1 {
		return fmt.Errorf("%s: uid %d: %s", folder, l.first, l.what)
	}
	return fmt.Errorf("%s: %d messages (the first is uid %d): %s", folder, l.n, l.first, l.what)
}

// message reads a message as the destination gets it.
func (w *work) message(ref restore.Ref) (*restore.Message, error) {
	m, err := w.d.src.Message(ref)
	if err != nil {
		return nil, err
	}
	w.fitting.fit(m)
	w.own(m)
	return m, nil
}

// zeroDates are the records whose date is 0. The server replaces that when it appends a
// message, but takes it as it is for one that it has (imap/sync_support.c,
// sync_mailbox_compare_update).
func zeroDates(msgs []*restore.Message) []*restore.Message {
	var out []*restore.Message
	for _, m := range msgs {
		if m.InternalDate == 0 {
			out = append(out, m)
		}
	}
	return out
}

// sameRecord says whether a server has a message as it was sent.
func sameRecord(a, b *cyrus.Record) bool {
	return a.GUID == b.GUID && a.ModSeq == b.ModSeq && a.LastUpdated == b.LastUpdated && a.InternalDate == b.InternalDate && sameFlags(a.Flags, b.Flags)
}
