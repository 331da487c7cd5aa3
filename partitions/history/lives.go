package history

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// A user who is deleted and created again under the same name is another person, and the
// new INBOX has another uniqueid. The backup keeps the data of each person as a separate
// life (docs/format.md 3.3).

// lifeEntry is the prefix of the annotation entries that record a life, before its number.
// The annotation belongs to no mailbox (Name ""). No client can send such an annotation
// for a user's backup.
const lifeEntry = "/backupd/life/"

// Life is one life of a user.
type Life struct {
	Number int    // 1, 2, …
	First  uint64 // its first commit; 0 for the first life
	// Inbox is the uniqueid of the INBOX at the start; "" for the first life.
	Inbox string
	// Began is the start, by the clock of the mail server if known; zero for the first life.
	Began time.Time
}

type lifeNote struct {
	Inbox string    `json:"inbox"`
	Began time.Time `json:"began"`
}

// NewLife returns the event that records the start of a life.
func NewLife(l Life) (*AnnotationEvent, error) {
	b, err := json.Marshal(lifeNote{l.Inbox, l.Began.UTC()})
	if err != nil {
		return nil, fmt.Errorf("record life %d: %w", l.Number, err)
	}
	value := string(b)
	return &AnnotationEvent{Entry: lifeEntry + strconv.Itoa(l.Number), Value: &value}, nil
}

// NotedLife returns the life that an annotation records, without its first commit. ok is
// false for any other annotation.
func NotedLife(e *AnnotationEvent) (l Life, ok bool) {
	if !IsLife(e) {
		return l, false
	}
	n, err := strconv.Atoi(strings.TrimPrefix(e.Entry, lifeEntry))
	var note lifeNote
	if err != nil || n < 2 || json.Unmarshal([]byte(*e.Value), &note) != nil {
		return l, false
	}
	return Life{Number: n, Inbox: note.Inbox, Began: note.Began}, true
}

// IsLife reports whether an annotation records a life, rather than coming from the mail
// server.
func IsLife(e *AnnotationEvent) bool {
	return e.Name == "" && e.UserID == "" && e.Value != nil && strings.HasPrefix(e.Entry, lifeEntry)
}

// Lives are the lives of a backup, in order. There is at least one.
type Lives []Life

// LivesOf reads the lives from the state of a user's backup.
func LivesOf(st State) (Lives, error) {
	out := Lives{{Number: 1}}
	for i, err := range st.Items(ItemAnnotation) {
		if err != nil {
			return nil, err
		}
		e, ok := i.Event.(*AnnotationEvent)
		if !ok {
			continue
		}
		if l, ok := NotedLife(e); ok {
			l.First = i.Commit
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b Life) int { return cmp.Compare(a.Number, b.Number) })
	return out, nil
}

// Newest returns the current life.
func (ls Lives) Newest() Life { return ls[len(ls)-1] }

// Last returns the last commit of a life; 0 = the life has not ended. ok is false if there
// is no such life.
func (ls Lives) Last(number int) (commit uint64, ok bool) {
	i := slices.IndexFunc(ls, func(l Life) bool { return l.Number == number })
	if i < 0 {
		return 0, false
	}
	if i == len(ls)-1 {
		return 0, true
	}
	return ls[i+1].First - 1, true
}

// Began returns when a life began, by the mail server's clock. It is zero for the first
// life and for unknown ones.
func (ls Lives) Began(number int) (at time.Time) {
	for _, l := range ls {
		if l.Number == number {
			at = l.Began
		}
	}
	return at
}

// A life can seem to begin before the deletion that preceded it. Cyrus takes the UIDVALIDITY from
// time(2), which returns the time of the kernel's last tick, and the time in a deleted name from
// gettimeofday(2) (imap/mailbox.c, imap/mboxname.c). Both are whole seconds. The last tick is some
// milliseconds old, or seconds on a virtual machine that waits for its processor: four seconds have
// been seen, in which the former person's last folder got the UIDVALIDITY of the next INBOX. If in
// doubt, a mailbox belongs to the former person: nobody else may get it.
const (
	clockLag    = time.Second // for any deleted mailbox
	clockLagOld = time.Minute // for a mailbox that is not younger than the life
)

// precedes reports whether the mail server deleted a mailbox before the life began.
func (l Life) precedes(m *MailboxState, deleted time.Time) bool {
	lag := clockLag
	for _, f := range m.Fields {
		if f.Key != "UIDVALIDITY" {
			continue
		}
		if created, err := strconv.ParseInt(f.Value.Str, 10, 64); err == nil && created <= l.Began.Unix() {
			lag = clockLagOld
		}
	}
	return !deleted.After(l.Began.Add(lag))
}

// Of returns the life that a mailbox belongs to. For a mailbox that the mail server keeps
// under DELETED, the time of deletion in its name decides. For any other, the commit that
// deleted it decides, because the first commit of a life deletes the rest of the previous
// life.
func (ls Lives) Of(m *MailboxState, deletedPrefix string) Life {
	at := ls[0]
	deleted, named := DeletedAt(m.Name, deletedPrefix)
	for _, l := range ls[1:] {
		switch {
		case named && l.precedes(m, deleted):
		case !named && !m.Deleted.IsZero() && m.Commit <= l.First:
		default:
			at = l
		}
	}
	return at
}

// DeletedAt returns when the mail server deleted a mailbox that it keeps for some time
// under another name (delete_mode: delayed). The last component of the name is the time in
// hex (imap/mboxname.c, mboxname_todeleted). ok is false for any other mailbox.
func DeletedAt(name, deletedPrefix string) (at time.Time, ok bool) {
	if !cyrus.IsDeleted(name, deletedPrefix) {
		return at, false
	}
	sec, err := strconv.ParseInt(name[strings.LastIndexByte(name, '.')+1:], 16, 64)
	if err != nil || sec < 0 {
		return time.Unix(0, 0), true
	}
	return time.Unix(sec, 0), true
}
