package csync

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/internal/restore"
)

// maxKeywords is how many keywords a mailbox has room for (imap/mailbox.h, MAX_USER_FLAGS).
const maxKeywords = 128

// fitting makes records what a Cyrus server can hold.
type fitting struct {
	exact    bool // with uids and dates, by APPLY; else by RESTORE
	keywords map[string]bool
	changes  []string // of the record at hand
}

func (f *fitting) add(format string, args ...any) {
	f.changes = append(f.changes, fmt.Sprintf(format, args...))
}

// fit changes what of a message Cyrus cannot hold to the nearest thing that it can, and
// says in words what that was.
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

// dates: the index has 32 bits without a sign for each (imap/mailbox.c,
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
		// The server would put the present time in its place (mailbox_append_index_record).
		f.add("the date %s becomes %s", date(0), date(1))
		m.InternalDate = 1
	}
	if l := m.LastUpdated; f.exact && (l < 0 || l > math.MaxUint32) {
		f.add("a time of the last change that has more than 32 bits becomes %s", date(math.MaxUint32))
		m.LastUpdated = math.MaxUint32
	}
}

// flag says whether a mailbox can have a flag.
func (f *fitting) flag(name string) bool {
	switch {
	case isSystemFlag(name):
		return true
	case strings.HasPrefix(name, `\`):
		f.add("Cyrus has no system flag %q, it is left out", name)
		return false
	case !isAtom(name):
		f.add("Cyrus has no keyword %q (it is no atom), it is left out", name)
		return false
	}
	key := strings.ToLower(name)
	if f.keywords[key] {
		return true
	}
	if len(f.keywords) >= maxKeywords {
		f.add("keyword %q is left out: a mailbox has no more than %d", name, maxKeywords)
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
	var lost losses
	for _, ref := range w.list {
		m, err := w.d.src.Message(ref)
		if err != nil {
			return err
		}
		size, err := w.d.src.Held(m.GUID)
		if err == nil && size == 0 { // it would end sync_server (mailbox_append_index_record)
			lost.add(m.UID, "Cyrus holds no message without a byte: it is left out")
			continue
		}
		for _, what := range w.fitting.fit(m) {
			lost.add(m.UID, what)
		}
		list = append(list, ref)
	}
	w.list = list
	if exact && w.there == nil && num(w.f.From.Fields, "UIDVALIDITY") == 0 {
		w.d.rep.Fail(fmt.Errorf("%s: its uidvalidity is 0, and no mailbox can have that: it gets a new one", w.f.Name))
	}
	w.report(lost)
	return nil
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

// loss is a change that messages of a folder need, and how many.
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
