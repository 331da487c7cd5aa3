package csync

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/internal/restore"
)

// maxKeywords is how many keywords a mailbox can have (imap/mailbox.h, MAX_USER_FLAGS).
const maxKeywords = 128

// fitting changes records to what a Cyrus server can store.
type fitting struct {
	exact    bool // with uids and dates, by APPLY; else by RESTORE
	keywords map[string]bool
	changes  []string // of the current record
}

func (f *fitting) add(format string, args ...any) {
	f.changes = append(f.changes, fmt.Sprintf(format, args...))
}

// fit changes the parts of a message that Cyrus cannot store to the nearest possible values, and
// returns a description of each change.
func (f *fitting) fit(m *restore.Message) (changes []string) {
	f.changes = nil
	f.dates(m)
	var flags []string
	for _, name := range m.Flags {
		if f.flag(name) && !slices.ContainsFunc(flags, func(o string) bool { return strings.EqualFold(o, name) }) {
			flags = append(flags, name)
		}
	}
	m.Flags = flags
	return f.changes
}

// dates fits the dates. The index stores each in 32 unsigned bits (imap/mailbox.c,
// mailbox_buf_to_index_record).
func (f *fitting) dates(m *restore.Message) {
	switch d := m.InternalDate; {
	case d < 0:
		f.add("a date before 1970 becomes %s", date(1))
		m.InternalDate = 1
	case d > math.MaxUint32:
		f.add("a date after %s becomes that", date(math.MaxUint32))
		m.InternalDate = math.MaxUint32
	case d == 0 && !f.exact:
		// The server would replace it by the current time (mailbox_append_index_record).
		f.add("the date %s becomes %s", date(0), date(1))
		m.InternalDate = 1
	}
	if l := m.LastUpdated; f.exact && (l < 0 || l > math.MaxUint32) {
		f.add("a time of the last change that has more than 32 bits becomes %s", date(math.MaxUint32))
		m.LastUpdated = math.MaxUint32
	}
}

// flag reports whether a mailbox can have a flag.
func (f *fitting) flag(name string) bool {
	switch {
	case isSystemFlag(name):
		return true
	case strings.HasPrefix(name, `\`):
		f.add("Cyrus has no system flag %q: left out", name)
		return false
	case !isAtom(name):
		f.add("keyword %q is not an atom, which Cyrus requires: left out", name)
		return false
	}
	key := strings.ToLower(name)
	if f.keywords[key] {
		return true
	}
	if len(f.keywords) >= maxKeywords {
		f.add("a mailbox can have %[2]d keywords: %[1]q left out", name, maxKeywords)
		return false
	}
	f.keywords[key] = true
	return true
}

// isSystemFlag reports whether Cyrus replicates a system flag (imap/sync_support.c, sync_getflags).
func isSystemFlag(name string) bool {
	switch strings.ToLower(name) {
	case `\seen`, `\answered`, `\flagged`, `\deleted`, `\draft`:
		return true
	}
	return false
}

// isAtom reports whether Cyrus accepts a keyword (lib/imparse.c, imparse_isatom).
func isAtom(s string) bool {
	if s == "" || len(s) >= 1024 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x1f || r >= 0x7f || strings.ContainsRune(` {()"%*\`, r) })
}

// plan leaves out messages that the server cannot store, and reports changes.
func (w *work) plan(exact bool) error {
	w.fitting = &fitting{exact: exact, keywords: map[string]bool{}}
	var list []restore.Ref
	var lost losses
	for _, ref := range w.list {
		m, err := w.d.src.Message(ref)
		if err != nil {
			return err
		}
		size, err := w.d.src.Held(m.GUID)
		if err == nil && size == 0 { // an empty message crashes sync_server (mailbox_append_index_record)
			lost.add(m.UID, "Cyrus cannot store an empty message: left out")
			continue
		}
		for _, what := range w.fitting.fit(m) {
			lost.add(m.UID, what)
		}
		list = append(list, ref)
	}
	w.list = list
	if exact && w.there == nil && num(w.f.From.Fields, "UIDVALIDITY") == 0 {
		w.d.rep.Fail(fmt.Errorf("%s: uidvalidity is 0, which is not valid: the mailbox gets a new one", w.f.Name))
	}
	w.report(lost)
	return nil
}

// message reads a message and prepares it for the destination.
func (w *work) message(ref restore.Ref) (*restore.Message, error) {
	m, err := w.d.src.Message(ref)
	if err != nil {
		return nil, err
	}
	w.fitting.fit(m)
	w.own(m)
	return m, nil
}

// loss is a change to messages of a folder, with their number.
type loss struct {
	what  string
	n     int
	first uint32 // uid
}

type losses []*loss

// add counts a change of a message.
func (l *losses) add(uid uint32, what string) {
	i := slices.IndexFunc(*l, func(o *loss) bool { return o.what == what })
	if i < 0 {
		i = len(*l)
		*l = append(*l, &loss{what: what, first: uid})
	}
	(*l)[i].n++
}

// report reports each kind of change as one problem.
func (w *work) report(lost losses) {
	for _, l := range lost {
		if l.n == 1 {
			w.d.rep.Fail(fmt.Errorf("%s: uid %d: %s", w.f.Name, l.first, l.what))
			continue
		}
		w.d.rep.Fail(fmt.Errorf("%s: %d messages (the first is uid %d): %s", w.f.Name, l.n, l.first, l.what))
	}
}

// zeroDates returns the records whose date is 0. The server replaces such a date when it appends a
// message, but accepts it for an existing message (imap/sync_support.c,
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
