package restore

import (
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Account is the part of a backup that belongs to no mailbox.
type Account struct {
	Subs        []*history.SubEvent
	Seen        []*history.SeenEvent
	Scripts     []*history.SieveEvent
	Active      []*history.SieveActiveEvent
	Quotas      []*history.QuotaEvent
	Annotations []*history.AnnotationEvent // server annotations and those sent without a mailbox
}

// Account reads the account data.
func (s *Source) Account() (*Account, error) { return s.AccountAtEnd(time.Time{}) }

// AccountAtEnd is Account plus everything that was removed since the account began to be
// deleted (Selection.End). The zero time means that it was not deleted.
func (s *Source) AccountAtEnd(end time.Time) (*Account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := new(Account)
	for _, kind := range history.ItemKinds() {
		for i, err := range s.mem.Items(kind) {
			if err != nil {
				return nil, err
			}
			if i.Deleted.IsZero() || !end.IsZero() && !i.Deleted.Before(end.Add(-endGap)) {
				a.add(i.Event)
			}
		}
	}
	return a, nil
}

func (a *Account) add(e history.Event) {
	switch e := e.(type) {
	case *history.SubEvent:
		if e.Subscribed {
			a.Subs = append(a.Subs, e)
		}
	case *history.SeenEvent:
		a.Seen = append(a.Seen, e)
	case *history.SieveEvent:
		a.Scripts = append(a.Scripts, e)
	case *history.SieveActiveEvent:
		if e.Filename != "" {
			a.Active = append(a.Active, e)
		}
	case *history.QuotaEvent:
		a.Quotas = append(a.Quotas, e)
	case *history.AnnotationEvent:
		if e.Value != nil && !history.IsLife(e) {
			a.Annotations = append(a.Annotations, e)
		}
	}
}

// Empty reports whether there is nothing to restore.
func (a *Account) Empty() bool {
	return len(a.Subs)+len(a.Seen)+len(a.Scripts)+len(a.Active)+len(a.Quotas)+len(a.Annotations) == 0
}

// OwnSubs returns the subscriptions to the user's own mailboxes. Files and IMAP accounts
// leave out all others, because below the user's namespace their names would denote
// different mailboxes.
func (a *Account) OwnSubs(defaultDomain, deletedPrefix string) []string {
	var out []string
	for _, s := range a.Subs {
		if userid, _ := cyrus.Owner(s.Name, defaultDomain, deletedPrefix); userid == s.User {
			out = append(out, s.Name)
		}
	}
	return out
}

// ScriptName is the name of a Sieve script as its owner knows it.
func ScriptName(filename string) string {
	return strings.TrimSuffix(strings.TrimSuffix(filename, ".script"), ".bc")
}
