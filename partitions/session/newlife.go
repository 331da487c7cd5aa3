package session

import (
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A user who was deleted and created again is another person (history.Lives). The uniqueid of
// the INBOX shows this. The client often reports nothing about the other folders
// (client-behaviour.md 10.1), so the commit of the new INBOX ends everything that is left of
// the former person.

// newLife is the start of another life of a user. It is detected when an INBOX arrives.
type newLife struct {
	events []history.Event
	closed []string // uniqueids of the mailboxes that end
	// doubt is set if a closed mailbox may belong to the new person, or if the source may also
	// have some of the closed items. The client then has to compare the whole user.
	doubt bool
}

// beginsLife returns the new life if an INBOX arrives with another uniqueid than the last
// INBOX, with the events that precede the INBOX. It returns nil if no life begins. st is the
// state before the INBOX arrives.
func (x *Session) beginsLife(st *partitions.State, h *heldBackup, name, uniqueid string, validity uint32) (*newLife, error) {
	if st == nil || !cyrus.IsInbox(name) {
		return nil, nil
	}
	names, now := x.set.Options().Names, x.now()
	if m, err := st.MailboxByName(name); err != nil || m != nil && m.UniqueID == uniqueid {
		return nil, err
	}
	lives, err := history.LivesOf(st)
	if err != nil {
		return nil, err
	}
	last, err := lastInbox(st, lives, name, names)
	if err != nil || last == "" || last == uniqueid {
		return nil, err
	}
	before, began := lives.Newest(), createdAt(validity, now)
	if !began.After(before.Began) { // an older INBOX has come back
		began = now
	}
	note, err := history.NewLife(history.Life{Number: before.Number + 1, Inbox: uniqueid, Began: began})
	if err != nil {
		return nil, err
	}
	userid, _ := cyrus.Owner(name, names.DefaultDomain, names.DeletedPrefix)
	l := &newLife{events: []history.Event{&history.UnuserEvent{User: userid}, note}}
	if err := h.keepMailboxes(st, l, names, validity, x.importing); err != nil {
		return nil, err
	}
	return l, h.keepItems(st, l, x.importing)
}

// lastInbox returns the uniqueid of the most recent INBOX, or "" if there was none. If no
// INBOX is live, the note of the life takes precedence, because another deleted INBOX may have
// changed later.
func lastInbox(st *partitions.State, lives history.Lives, name string, names repository.Names) (uniqueid string, err error) {
	for m, err := range st.Mailboxes() {
		if err != nil {
			return "", err
		}
		was, _ := cyrus.Undeleted(m.Name, names.DeletedPrefix)
		if was != name || intermediate(m) {
			continue
		}
		if m.Name == name && m.Deleted.IsZero() {
			return m.UniqueID, nil
		}
		uniqueid = m.UniqueID // in order of creation
	}
	if l := lives.Newest(); l.Inbox != "" {
		return l.Inbox, nil
	}
	return uniqueid, nil
}

// intermediate reports whether a mailbox is only a level of the hierarchy. A user who has
// folders but has created no INBOX has an INBOX of this kind.
func intermediate(m *history.MailboxState) bool {
	for _, f := range m.Fields {
		if f.Key == "MBOXTYPE" {
			return (&cyrus.Mailbox{Type: f.Value.Str}).Intermediate()
		}
	}
	return false
}

// createdAt returns when a mailbox was created. The mail server derives the UIDVALIDITY from
// its clock. If that time is absurd, createdAt returns now.
func createdAt(validity uint32, now time.Time) time.Time {
	at := time.Unix(int64(validity), 0)
	if at.Year() < 2000 || at.After(now.Add(24*time.Hour)) {
		return now
	}
	return at
}

// keepMailboxes repeats the mailboxes that unuser deletes but the source still has: the
// deleted mailboxes that it keeps, and the mailboxes that it sent before the INBOX in the same
// unit of work.
func (h *heldBackup) keepMailboxes(st *partitions.State, l *newLife, names repository.Names, validity uint32, past bool) error {
	for m, err := range st.Mailboxes() {
		if err != nil {
			return err
		}
		if !m.Deleted.IsZero() {
			continue
		}
		younger := number(m.Fields, "UIDVALIDITY") >= uint64(validity)
		switch {
		case cyrus.IsDeleted(m.Name, names.DeletedPrefix), h.sent[m.UniqueID] && (younger || !past):
			l.events = append(l.events, &history.MailboxEvent{UniqueID: m.UniqueID, Name: m.Name, Fields: m.Fields})
		default:
			l.closed = append(l.closed, m.UniqueID)
			l.doubt = l.doubt || younger && !cyrus.IsInbox(m.Name)
		}
	}
	return nil
}

// keepItems repeats quotas and subscriptions if we reported them to the client in this unit of
// work: the client removes the items that the new person does not have, and does not send
// equal ones. Scripts and seen state belong to the former person.
func (h *heldBackup) keepItems(st *partitions.State, l *newLife, past bool) error {
	for _, kind := range []string{history.ItemSub, history.ItemQuota, history.ItemSieve, history.ItemSieveActive, history.ItemSeen} {
		for i, err := range st.Items(kind) {
			switch {
			case err != nil:
				return err
			case !i.Deleted.IsZero():
			case h.compared && !past && (kind == history.ItemSub || kind == history.ItemQuota):
				l.events = append(l.events, i.Event)
			default:
				l.doubt = true
			}
		}
	}
	return nil
}

// began is called after the commit that begins a life is durable.
func (l *newLife) began(x *Session, h *heldBackup, n repository.Name) {
	for _, id := range l.closed {
		h.closed[id] = true
	}
	x.log.Info("a new life of the user has begun: the INBOX was replaced; the mailboxes of the former life are kept as history",
		"backup", n.Path())
	if l.doubt && !x.importing {
		x.compareLater(n)
	}
}

// now returns the time of the running command.
func (x *Session) now() time.Time {
	if !x.who.At.IsZero() {
		return x.who.At
	}
	return x.clock()
}
