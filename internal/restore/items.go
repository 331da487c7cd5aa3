package restore

import (
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Account is what a backup holds besides mailboxes.
type Account struct {
	Subs        []*history.SubEvent
	Seen        []*history.SeenEvent
	Scripts     []*history.SieveEvent
	Active      []*history.SieveActiveEvent
	Quotas      []*history.QuotaEvent
	Annotations []*history.AnnotationEvent // of the server, and those that came by themselves
}

// Account reads it.
func (s *Source) Account() (*Account, error) { return s.AccountAtEnd(time.Time{}) }

// AccountAtEnd is Account, with what was removed since the account began to be deleted
// (Selection.End); zero = it was not deleted.
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

// Empty says that there is nothing in it.
func (a *Account) Empty() bool {
	return len(a.Subs)+len(a.Seen)+len(a.Scripts)+len(a.Active)+len(a.Quotas)+len(a.Annotations) == 0
}

// OwnSubs are the names of those mailboxes of the user's own that are subscribed to. Of
// others there is nothing in files or in an IMAP account: their names below the user's
// would be those of other mailboxes.
func (a *Account) OwnSubs(defaultDomain, deletedPrefix string) []string {
	var out []string
	for _, s := range a.Subs {
		if userid, _ := cyrus.Owner(s.Name, defaultDomain, deletedPrefix); userid == s.User {
			out = append(out, s.Name)
		}
	}
	return out
}

// ScriptName is the name of a script, as its owner knows it.
func ScriptName(filename string) string {
	return strings.TrimSuffix(strings.TrimSuffix(filename, ".script"), ".bc")
}
