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

// A user who is deleted and created again under the same name is another person, whose
// INBOX has another uniqueid. What a backup holds of the one is a life, and so is what it
// holds of the other (docs/format.md 3.3).

// lifeEntry begins the entry of the annotation that notes a life; its number follows. The
// annotation belongs to no mailbox (Name ""), which no client can send for a user's backup.
const lifeEntry = "/backupd/life/"

// Life is a life of a user.
type Life struct {
	Number int    // 1, 2, …
	First  uint64 // the commit that began it; 0 for the first life
	// Inbox is the uniqueid that its INBOX began with; "" for the first life.
	Inbox string
	// Began is when, by the clock of the mail server if that is known; zero for the first life.
	Began time.Time
}

type lifeNote struct {
	Inbox string    `json:"inbox"`
	Began time.Time `json:"began"`
}

// NewLife is the event that notes the beginning of a life.
func NewLife(l Life) (*AnnotationEvent, error) {
	b, err := json.Marshal(lifeNote{l.Inbox, l.Began.UTC()})
	if err != nil {
		return nil, fmt.Errorf("note life %d: %w", l.Number, err)
	}
	value := string(b)
	return &AnnotationEvent{Entry: lifeEntry + strconv.Itoa(l.Number), Value: &value}, nil
}

// NotedLife is the life that an annotation notes, without its first commit. ok is false
// for any other annotation.
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

// IsLife says that an annotation notes a life, and is none of the mail server's.
func IsLife(e *AnnotationEvent) bool {
	return e.Name == "" && e.UserID == "" && e.Value != nil && strings.HasPrefix(e.Entry, lifeEntry)
}

// Lives are those of a backup, in their order. There is at least one.
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

// Newest is the life that has not ended.
func (ls Lives) Newest() Life { return ls[len(ls)-1] }

// Last is the last commit of a life; 0 = it has not ended. ok is false if there is no
// such life.
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

// Began is when a life began, by the mail server's clock; zero for the first, and one that
// there is not.
func (ls Lives) Began(number int) (at time.Time) {
	for _, l := range ls {
		if l.Number == number {
			at = l.Began
		}
	}
	return at
}

// Of is the life that a mailbox belongs to. One that the mail server keeps as a deleted
// one goes by when it was deleted there, any other by the commit that deleted it: the
// commit that begins a life deletes what is left of the life before.
func (ls Lives) Of(m *MailboxState, deletedPrefix string) Life {
	at := ls[0]
	deleted, named := DeletedAt(m.Name, deletedPrefix)
	for _, l := range ls[1:] {
		switch {
		case named && !deleted.After(l.Began):
		case !named && !m.Deleted.IsZero() && m.Commit <= l.First:
		default:
			at = l
		}
	}
	return at
}

// DeletedAt is when a mailbox was deleted that a mail server keeps under another name for
// some time (delete_mode: delayed): the last component is that time in hex
// (imap/mboxname.c, mboxname_todeleted). ok is false for any other mailbox.
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
