package replication_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

// The answer of each command while its backup is unavailable (docs/errors.md): alone, and
// after an answered GET USER, when the client defers everything that is locked.
var unavailable = []struct{ method, alone, within string }{
	{"GetUser", locked, locked},
	{"GetMailboxes", locked, locked},
	{"GetMeta", promoted, locked},
	{"GetUniqueIDs", promoted, locked},
	{"GetFullMailbox", "closed", locked},
	{"GetQuota", promoted, locked},
	{"GetAnnotation", "closed", locked},
	{"GetFetch", "closed", locked},
	{"GetFetchSieve", promoted, locked},
	{"Reserve", locked, locked},
	{"Message", locked, locked},
	{"MessageUnreadable", locked, locked},
	{"ApplyMailbox", locked, locked},
	{"ApplyExpunge", "closed", locked},
	{"ApplyUnmailbox", gone, locked},
	{"ApplyRename", "closed", locked},
	{"ApplySeen", promoted, promoted},
	{"ApplySub", promoted, locked},
	{"ApplySieve", promoted, locked},
	{"ApplyUnsieve", promoted, locked},
	{"ApplyActivateSieve", promoted, locked},
	{"ApplyUnactivateSieve", promoted, locked},
	{"ApplyQuota", promoted, locked},
	{"ApplyUnquota", promoted, locked},
	{"ApplyAnnotation", "closed", locked},
	{"ApplyUnannotation", "closed", locked},
	{"ApplyUnuser", gone, locked},
	{"ApplyForce", promoted, locked},
}

// outside is the answer of a command about a backup outside the scope of the login, where it differs. The
// connection is never closed.
var outside = map[string]struct{ alone, within string }{
	"GetFullMailbox":    {locked, locked},
	"GetFetch":          {locked, locked},
	"ApplyExpunge":      {locked, locked},
	"ApplyRename":       {locked, locked},
	"GetAnnotation":     {ok, ok},
	"ApplyAnnotation":   {ok, ok},
	"ApplyUnannotation": {ok, ok},
}

const (
	ok       = "OK Success"
	locked   = "NO IMAP_MAILBOX_LOCKED Mailbox locked"
	promoted = "NO Unknown error in "
	gone     = "NO IMAP_MAILBOX_NONEXISTENT No Such Mailbox"
)

func TestUnavailable(t *testing.T) {
	err := fmt.Errorf("%w: damaged", cyrus.ErrUnavailable)
	command := map[string]string{}
	for _, c := range commands {
		command[c.method] = c.command
	}
	if len(unavailable) != len(commands) {
		t.Errorf("%d commands are tested, there are %d", len(unavailable), len(commands))
	}
	for _, tt := range unavailable {
		if got := failWith(t, tt.method, command[tt.method], err); !strings.HasPrefix(got, tt.alone) {
			t.Errorf("%s: got %q, want %q", tt.method, got, tt.alone)
		}
		if got := failAfter(t, []string{"GET USER bert"}, tt.method, command[tt.method], err); !strings.HasPrefix(got, tt.within) {
			t.Errorf("%s after GET USER: got %q, want %q", tt.method, got, tt.within)
		}
		if got := failAfter(t, []string{"GET MAILBOXES (user.bert)", "RESTART"}, tt.method, command[tt.method], err); !strings.HasPrefix(got, tt.alone) {
			t.Errorf("%s after RESTART: got %q, want %q", tt.method, got, tt.alone)
		}
	}
}

func TestOutside(t *testing.T) {
	err := fmt.Errorf("user anne: %w", cyrus.ErrOutside)
	command := map[string]string{}
	for _, c := range commands {
		command[c.method] = c.command
	}
	for _, tt := range unavailable {
		want, differs := outside[tt.method]
		if !differs {
			want.alone, want.within = tt.alone, tt.within
		}
		if got := failWith(t, tt.method, command[tt.method], err); !strings.HasPrefix(got, want.alone) {
			t.Errorf("%s: got %q, want %q", tt.method, got, want.alone)
		}
		if got := failAfter(t, []string{"GET USER bert"}, tt.method, command[tt.method], err); !strings.HasPrefix(got, want.within) {
			t.Errorf("%s after GET USER: got %q, want %q", tt.method, got, want.within)
		}
	}
}

// failAfter is failWith on a connection that has run another command before.
func failAfter(t *testing.T, before []string, method, command string, err error) string {
	t.Helper()
	failing := false
	store := replicationtest.NewStore()
	store.Fail = func(m, _ string) error {
		if m == method && failing {
			return err
		}
		return nil
	}
	b := open(t, store)
	for _, c := range before {
		if got := b.do(c); !strings.HasPrefix(got, "OK ") {
			t.Fatalf("%s: %q", c, got)
		}
	}
	failing = true
	got := strings.TrimSuffix(b.do(command), "\n")
	if strings.HasPrefix(got, "closed") {
		<-b.ended
		return "closed"
	}
	b.want("NOOP", "OK Noop completed")
	return got
}

// Answers that keep a client going are not delayed. Closing a connection because a backup
// is unavailable is, because master restarts the client.
func TestUnavailableSlowdown(t *testing.T) {
	clock := newClock()
	store := replicationtest.NewStore()
	store.Fail = func(string, string) error { return cyrus.ErrUnavailable }
	srv := newServer(t, store, func(o *replication.Options) { o.Clock = clock })
	for range 3 {
		b := dial(t, srv, replication.ConnOptions{Unix: true})
		b.do("APPLY SUB %(USERID anne MBOXNAME m)")
		b.do("GET META anne")
		b.do("GET USER anne")
		b.do("APPLY UNMAILBOX user.anne")
	}
	if w := clock.takeWaited(); len(w) != 0 {
		t.Errorf("waited %v for answers after which the client goes on", w)
	}
	for range 3 {
		dial(t, srv, replication.ConnOptions{Unix: true}).do("GET ANNOTATION \"\"")
	}
	if w := fmt.Sprint(clock.takeWaited()); w != "[1s 2s]" {
		t.Errorf("waited %s before connections were closed, want [1s 2s]", w)
	}
}

// A client that should compare the whole user gets a plain NO without delay.
func TestAskUser(t *testing.T) {
	got := failWith(t, "GetMailboxes", "GET MAILBOXES (user.anne)", cyrus.ErrAskUser)
	if !strings.HasPrefix(got, promoted) {
		t.Errorf("got %q", got)
	}
}
