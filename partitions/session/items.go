package session

import (
	"bytes"
	"context"
	"crypto/sha1"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// one returns a change with one event. It drops the event if the item already has that value.
func one(k history.ItemKey, e history.Event, same func(old history.Event) bool) partitions.Change {
	return func(st *partitions.State) ([]history.Event, error) {
		if st == nil {
			return []history.Event{e}, nil
		}
		old, err := st.Item(k)
		if err != nil {
			return nil, err
		}
		if old != nil && old.Deleted.IsZero() && same(old.Event) {
			return nil, nil
		}
		return []history.Event{e}, nil
	}
}

// removal returns a change that removes an item if it exists.
func removal(k history.ItemKey, e history.Event) partitions.Change {
	return func(st *partitions.State) ([]history.Event, error) {
		if st == nil {
			return nil, nil
		}
		old, err := st.Item(k)
		if err != nil || old == nil || !old.Deleted.IsZero() {
			return nil, err
		}
		return []history.Event{e}, nil
	}
}

func samePairs(a, b []dlist.Pair) bool {
	return bytes.Equal(dlist.Append(nil, dlist.KV(a...), true), dlist.Append(nil, dlist.KV(b...), true))
}

// ApplySeen stores a user's seen state of one mailbox.
func (x *Session) ApplySeen(ctx context.Context, s cyrus.Seen) (err error) {
	defer x.enter()(&err)
	return x.change(x.set.Patient(ctx), repository.UserName(s.UserID), one(
		history.ItemKey{Kind: "seen", A: s.UserID, B: s.UniqueID},
		&history.SeenEvent{User: s.UserID, UniqueID: s.UniqueID, Fields: s.Fields},
		func(old history.Event) bool {
			e, ok := old.(*history.SeenEvent)
			return ok && samePairs(e.Fields, s.Fields)
		}))
}

// ApplySub subscribes a user to a mailbox or unsubscribes the user.
func (x *Session) ApplySub(ctx context.Context, userid, mailbox string, subscribe bool) (err error) {
	defer x.enter()(&err)
	k := history.ItemKey{Kind: "sub", A: userid, B: mailbox}
	e := &history.SubEvent{User: userid, Name: mailbox, Subscribed: subscribe}
	c := removal(k, e)
	if subscribe {
		c = one(k, e, func(history.Event) bool { return true })
	}
	return x.change(x.set.Patient(ctx), repository.UserName(userid), c)
}

// ApplySieve stores a script.
func (x *Session) ApplySieve(ctx context.Context, s cyrus.Sieve) (err error) {
	defer x.enter()(&err)
	e := &history.SieveEvent{
		User: s.UserID, Filename: s.Filename, LastUpdate: s.LastUpdate,
		GUID: sha1.Sum([]byte(s.Content)), Content: s.Content, Extra: s.Extra,
	}
	return x.change(x.set.Patient(ctx), repository.UserName(s.UserID), one(
		history.ItemKey{Kind: "sieve", A: s.UserID, B: s.Filename}, e,
		func(old history.Event) bool {
			o, ok := old.(*history.SieveEvent)
			return ok && o.GUID == e.GUID && o.LastUpdate == e.LastUpdate && samePairs(o.Extra, e.Extra)
		}))
}

// ApplyUnsieve removes a script. When the client deactivates the active script, it sends the
// name of the compiled form (imap/sync_support.c: sync_do_user_sieve).
func (x *Session) ApplyUnsieve(ctx context.Context, userid, filename string) (err error) {
	defer x.enter()(&err)
	return x.change(x.set.Patient(ctx), repository.UserName(userid), func(st *partitions.State) ([]history.Event, error) {
		if st == nil {
			return nil, nil
		}
		var events []history.Event
		script, err := st.Item(history.ItemKey{Kind: "sieve", A: userid, B: filename})
		if err != nil {
			return nil, err
		}
		if script != nil && script.Deleted.IsZero() {
			events = append(events, &history.UnsieveEvent{User: userid, Filename: filename})
		}
		active, err := activeScript(st, userid)
		if err != nil {
			return nil, err
		}
		if active == filename {
			events = append(events, &history.SieveActiveEvent{User: userid})
		}
		return events, nil
	})
}

func activeScript(st *partitions.State, userid string) (string, error) {
	i, err := st.Item(history.ItemKey{Kind: "sieve-active", A: userid})
	if err != nil || i == nil || !i.Deleted.IsZero() {
		return "", err
	}
	e, ok := i.Event.(*history.SieveActiveEvent)
	if !ok {
		return "", fmt.Errorf("index: active script of %s is a %s event", userid, i.Event.Kind())
	}
	return e.Filename, nil
}

// ApplyActivateSieve makes a script the active one.
func (x *Session) ApplyActivateSieve(ctx context.Context, userid, filename string) error {
	return x.activate(ctx, userid, filename)
}

// ApplyUnactivateSieve deactivates the active script.
func (x *Session) ApplyUnactivateSieve(ctx context.Context, userid string) error {
	return x.activate(ctx, userid, "")
}

func (x *Session) activate(ctx context.Context, userid, filename string) (err error) {
	defer x.enter()(&err)
	return x.change(x.set.Patient(ctx), repository.UserName(userid), func(st *partitions.State) ([]history.Event, error) {
		var active string
		if st != nil {
			var err error
			if active, err = activeScript(st, userid); err != nil {
				return nil, err
			}
		}
		if active == filename {
			return nil, nil
		}
		return []history.Event{&history.SieveActiveEvent{User: userid, Filename: filename}}, nil
	})
}

// ApplyQuota stores the limits of a quota root.
func (x *Session) ApplyQuota(ctx context.Context, q cyrus.Quota) (err error) {
	defer x.enter()(&err)
	x.owing(x.set.NameOf(q.Root))
	return x.change(x.set.Patient(ctx), x.set.NameOf(q.Root), one(
		history.ItemKey{Kind: "quota", A: q.Root}, &history.QuotaEvent{Root: q.Root, Fields: q.Fields},
		func(old history.Event) bool {
			e, ok := old.(*history.QuotaEvent)
			return ok && samePairs(e.Fields, q.Fields)
		}))
}

// ApplyUnquota removes a quota root.
func (x *Session) ApplyUnquota(ctx context.Context, root string) (err error) {
	defer x.enter()(&err)
	x.owing(x.set.NameOf(root))
	return x.change(x.set.Patient(ctx), x.set.NameOf(root),
		removal(history.ItemKey{Kind: "quota", A: root}, &history.UnquotaEvent{Root: root}))
}

// ApplyAnnotation stores an annotation of a mailbox or of the server.
func (x *Session) ApplyAnnotation(ctx context.Context, a cyrus.MailboxAnnotation) (err error) {
	defer x.enter()(&err)
	if a.Value == nil {
		return x.unannotate(ctx, a.Mailbox, a.Entry, a.UserID)
	}
	return x.change(x.set.Patient(ctx), x.set.NameOf(a.Mailbox), one(annotationKey(a.Mailbox, a.Entry, a.UserID),
		&history.AnnotationEvent{Name: a.Mailbox, Entry: a.Entry, UserID: a.UserID, Value: a.Value},
		func(old history.Event) bool {
			e, ok := old.(*history.AnnotationEvent)
			return ok && e.Value != nil && *e.Value == *a.Value
		}))
}

// ApplyUnannotation removes an annotation.
func (x *Session) ApplyUnannotation(ctx context.Context, mailbox, entry, userid string) (err error) {
	defer x.enter()(&err)
	return x.unannotate(ctx, mailbox, entry, userid)
}

func (x *Session) unannotate(ctx context.Context, mailbox, entry, userid string) error {
	return x.change(x.set.Patient(ctx), x.set.NameOf(mailbox), removal(annotationKey(mailbox, entry, userid),
		&history.AnnotationEvent{Name: mailbox, Entry: entry, UserID: userid}))
}

func annotationKey(mailbox, entry, userid string) history.ItemKey {
	return history.ItemKey{Kind: "annotation", A: mailbox, B: entry, C: userid}
}

// ApplyUnuser records that the account was deleted. The history keeps everything.
func (x *Session) ApplyUnuser(ctx context.Context, userid string) (err error) {
	defer x.enter()(&err)
	return x.change(x.set.Patient(ctx), repository.UserName(userid), func(st *partitions.State) ([]history.Event, error) {
		if st == nil {
			return nil, nil
		}
		alive, err := anythingAlive(st)
		if err != nil || !alive {
			return nil, err
		}
		return []history.Event{&history.UnuserEvent{User: userid}}, nil
	})
}

func anythingAlive(s *partitions.State) (bool, error) {
	for m, err := range s.Mailboxes() {
		if err != nil || m.Deleted.IsZero() {
			return err == nil, err
		}
	}
	for _, kind := range history.ItemKinds() {
		if kind == history.ItemSealed {
			continue
		}
		for i, err := range s.Items(kind) {
			if err != nil {
				return false, err
			}
			if e, ok := i.Event.(*history.AnnotationEvent); i.Deleted.IsZero() && !(ok && history.IsLife(e)) {
				return true, nil
			}
		}
	}
	return false, nil
}
