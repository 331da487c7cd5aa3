package tripwire

import (
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// folders tells the mailboxes of a state apart.
type folders struct {
	deletedPrefix string
	special       map[string]string // special uses by mailbox name
}

// specialUse is the entry of the annotation with the special uses of a mailbox
// (imap/imapd.c, specialuse_annotate).
const specialUse = "/specialuse"

// foldersOf reads the special uses in a state.
func foldersOf(m history.State, deletedPrefix string) (*folders, error) {
	f := &folders{deletedPrefix: deletedPrefix, special: map[string]string{}}
	for i, err := range m.Items(history.ItemAnnotation) {
		if err != nil {
			return nil, err
		}
		e, ok := i.Event.(*history.AnnotationEvent)
		if ok && i.Deleted.IsZero() && e.Entry == specialUse && e.Value != nil {
			f.special[e.Name] += " " + *e.Value
		}
	}
	return f, nil
}

// discarded reports whether the mailbox is for messages that the user wants to lose. A
// message that is only there counts as deleted, and its removal from there does not count:
// programs empty such mailboxes regularly.
func (f *folders) discarded(m *history.MailboxState) bool {
	if uses, ok := f.special[m.Name]; ok {
		for use := range strings.FieldsSeq(uses) {
			if strings.EqualFold(use, `\Trash`) || strings.EqualFold(use, `\Junk`) {
				return true
			}
		}
		return false
	}
	parts := strings.Split(m.Name, ".")
	return len(parts) == 3 && slices.Contains(discardNames(), strings.ToLower(parts[2]))
}

// discardNames are names of such mailboxes without a special use, in lower case.
func discardNames() []string {
	return []string{"trash", "bin", "deleted items", "deleted messages", "deleted", "papierkorb", "corbeille", "papelera", "cestino",
		"junk", "junk e-mail", "junk email", "spam", "bulk mail"}
}

// deleted returns when the mail server deleted the mailbox; zero = it is live.
func (f *folders) deleted(m *history.MailboxState) time.Time {
	if at, ok := history.DeletedAt(m.Name, f.deletedPrefix); ok {
		return at
	}
	return m.Deleted
}

// nothingLeft reports whether all mailboxes of a state were deleted.
func nothingLeft(m *history.Mem, deletedPrefix string) (bool, error) {
	f := &folders{deletedPrefix: deletedPrefix}
	for box, err := range m.Mailboxes() {
		if err != nil {
			return false, err
		}
		if f.deleted(box).IsZero() {
			return false, nil
		}
	}
	return true, nil
}
