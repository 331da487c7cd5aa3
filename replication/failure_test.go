package replication_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

// commands contains one command for each method of a Session.
var commands = []struct{ method, command string }{
	{"GetUser", "GET USER anne"},
	{"GetMailboxes", "GET MAILBOXES (user.anne)"},
	{"GetMeta", "GET META anne"},
	{"GetUniqueIDs", "GET UNIQUEIDS (u1)"},
	{"GetFullMailbox", "GET FULLMAILBOX user.anne"},
	{"GetQuota", "GET QUOTA user.anne"},
	{"GetAnnotation", "GET ANNOTATION \"\""},
	{"GetFetch", "GET FETCH %(MBOXNAME m PARTITION p UNIQUEID u GUID " + guidHello + " UID 1)"},
	{"GetFetchSieve", "GET FETCH_SIEVE %(USERID anne FILENAME f.script)"},
	{"Reserve", "APPLY RESERVE %(PARTITION p MBOXNAME (user.anne) GUID (" + guidHello + "))"},
	{"Message", "APPLY MESSAGE (%{p " + guidHello + " 5}\r\nhello NIL %{p " + guidHello + " 5}\r\nhello)"},
	{"MessageUnreadable", "APPLY MESSAGE (NIL)"},
	{"ApplyMailbox", "APPLY MAILBOX " + box + " RECORD (" + record + "))"},
	{"ApplyExpunge", "APPLY EXPUNGE %(MBOXNAME user.anne UNIQUEID u UID (1))"},
	{"ApplyUnmailbox", "APPLY UNMAILBOX user.anne"},
	{"ApplyRename", "APPLY RENAME %(OLDMBOXNAME a NEWMBOXNAME b PARTITION p)"},
	{"ApplySeen", "APPLY SEEN %(USERID anne UNIQUEID i LASTREAD 1 LASTUID 2 LASTCHANGE 3 SEENUIDS 1)"},
	{"ApplySub", "APPLY SUB %(USERID anne MBOXNAME m)"},
	{"ApplySieve", "APPLY SIEVE %(USERID anne FILENAME f.script LAST_UPDATE 1 CONTENT x)"},
	{"ApplyUnsieve", "APPLY UNSIEVE %(USERID anne FILENAME f.script)"},
	{"ApplyActivateSieve", "APPLY ACTIVATE_SIEVE %(USERID anne FILENAME f.bc)"},
	{"ApplyUnactivateSieve", "APPLY UNACTIVATE_SIEVE %(USERID anne)"},
	{"ApplyQuota", "APPLY QUOTA %(ROOT user.anne LIMIT 1)"},
	{"ApplyUnquota", "APPLY UNQUOTA user.anne"},
	{"ApplyAnnotation", "APPLY ANNOTATION %(MBOXNAME \"\" ENTRY /comment USERID \"\" VALUE x)"},
	{"ApplyUnannotation", "APPLY UNANNOTATION %(MBOXNAME \"\" ENTRY /comment USERID \"\")"},
	{"ApplyUnuser", "APPLY UNUSER anne"},
	{"ApplyForce", "APPLY FORCE %()"},
}

// failWith sends command while the Session's method fails with err, and returns the answer.
// If the connection is still open, NOOP must work.
func failWith(t *testing.T, method, command string, err error) string {
	t.Helper()
	store := replicationtest.NewStore()
	store.Fail = func(m, _ string) error {
		if m == method {
			return fmt.Errorf("injected: %w", err)
		}
		return nil
	}
	b := open(t, store)
	got := strings.TrimSuffix(b.do(command), "\n")
	if strings.HasPrefix(got, "closed") {
		if err := <-b.ended; err == nil {
			t.Errorf("%s: ServeConn returned nil after a close", command)
		}
		return "closed"
	}
	b.want("NOOP", "OK Noop completed")
	return got
}

// The answer of each command while the backup is busy (client-behaviour.md 2).
func TestLocked(t *testing.T) {
	locked := map[string]bool{"GetUser": true, "GetMailboxes": true, "Reserve": true,
		"Message": true, "MessageUnreadable": true, "ApplyMailbox": true}
	promoted := map[string]bool{"GetMeta": true, "GetUniqueIDs": true, "GetQuota": true, "GetFetchSieve": true,
		"ApplySeen": true, "ApplySub": true, "ApplySieve": true, "ApplyUnsieve": true,
		"ApplyActivateSieve": true, "ApplyUnactivateSieve": true, "ApplyForce": true}
	for _, tt := range commands {
		want := "closed"
		switch {
		case locked[tt.method]:
			want = "NO IMAP_MAILBOX_LOCKED Mailbox locked"
		case promoted[tt.method]:
			want = "NO Unknown error in "
		}
		if got := failWith(t, tt.method, tt.command, cyrus.ErrLocked); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", tt.command, got, want)
		}
	}
}

// QUOTA, ANNOTATION and similar commands are never refused, whatever the error.
func TestNeverRefused(t *testing.T) {
	never := map[string]bool{"ApplyQuota": true, "ApplyUnquota": true, "ApplyAnnotation": true,
		"ApplyUnannotation": true, "GetAnnotation": true}
	for _, tt := range commands {
		for _, err := range []error{errors.New("disk on fire"), cyrus.ErrBadParameters, cyrus.ErrNonexistent} {
			got := failWith(t, tt.method, tt.command, err)
			if closed := got == "closed"; closed != never[tt.method] {
				t.Errorf("%s: %v: %q", tt.command, err, got)
			}
		}
	}
}

func TestRefusalLines(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{cyrus.ErrNonexistent, "NO IMAP_MAILBOX_NONEXISTENT No Such Mailbox"},
		{cyrus.ErrLocked, "NO IMAP_MAILBOX_LOCKED Mailbox locked"},
		{cyrus.ErrMoved, "NO IMAP_MAILBOX_MOVED Mailbox exists with another name or uniqueid"},
		{cyrus.ErrSyncChanged, "NO IMAP_SYNC_CHANGED Changed since last sync"},
		{cyrus.ErrBadParameters, "NO IMAP_PROTOCOL_BAD_PARAMETERS Bad parameters"},
		{cyrus.ErrProtocol, "NO IMAP_PROTOCOL_ERROR Protocol error"},
		{errors.New("no space left"), "NO Unknown error in GET USER for anne"},
		{cyrus.ErrClose, "closed"},
	} {
		if got := failWith(t, "GetUser", "GET USER anne", tt.err); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.err, got, tt.want)
		}
		// A Session that cannot be made counts as a Session that fails.
		if got := failWith(t, "NewSession", "GET USER anne", tt.err); got != tt.want {
			t.Errorf("NewSession: %v: got %q, want %q", tt.err, got, tt.want)
		}
	}
	got := failWith(t, "NewSession", "APPLY MESSAGE (%{p "+guidHello+" 5}\r\nhello)", cyrus.ErrLocked)
	if got != "NO IMAP_MAILBOX_LOCKED Mailbox locked" {
		t.Errorf("MESSAGE without a session: %q", got)
	}
}

// A client that immediately retries a refused command is slowed down across all its
// connections. A client that got LOCKED is not.
func TestSlowdown(t *testing.T) {
	clock := newClock()
	store := replicationtest.NewStore()
	fail := errors.New("broken")
	store.Fail = func(m, subject string) error {
		if m == "GetUser" && subject == "anne" {
			return fail
		}
		return nil
	}
	srv := newServer(t, store, func(o *replication.Options) { o.Clock = clock })
	var waited []time.Duration
	for range 8 {
		b := dial(t, srv, replication.ConnOptions{Unix: true})
		b.want("GET USER anne", "NO Unknown error in GET USER for anne")
		waited = append(waited, clock.takeWaited()...)
		b.want("GET USER bert", "OK Success")
	}
	if got, want := fmt.Sprint(waited), "[1s 2s 3s 4s 5s 5s 5s]"; got != want {
		t.Errorf("waited %s, want %s", got, want)
	}
	clock.After(2 * time.Minute)
	clock.takeWaited()
	b := dial(t, srv, replication.ConnOptions{Unix: true})
	b.do("GET USER anne")
	fail = cyrus.ErrLocked
	b.do("GET USER anne")
	b.do("GET USER anne")
	if w := clock.takeWaited(); len(w) != 0 {
		t.Errorf("waited %v after a pause and for LOCKED", w)
	}
}

// A panic ends its connection only, and the Session is closed.
func TestPanicClosesTheConnection(t *testing.T) {
	store := replicationtest.NewStore()
	store.Fail = func(m, _ string) error {
		if m == "ApplySub" {
			panic("a bug")
		}
		return nil
	}
	b := open(t, store)
	if got := b.do("APPLY SUB %(USERID u MBOXNAME m)"); !strings.HasPrefix(got, "closed") {
		t.Errorf("got %q", got)
	}
	if err := <-b.ended; err == nil || !strings.Contains(err.Error(), "a bug") {
		t.Errorf("ServeConn: %v", err)
	}
	if calls := store.Calls(); calls[len(calls)-1] != "Close " {
		t.Errorf("session not closed: %v", calls)
	}
}
