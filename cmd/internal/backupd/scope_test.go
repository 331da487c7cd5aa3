package backupd

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/replication"
)

// scoped is a connection to a server with backup_scopes.
type scoped struct {
	t    *testing.T
	b    *backups
	conf string // its lines
	file string
	conn net.Conn
	in   *bufio.Reader
}

// newScoped connects as the user cyrus, through a UNIX socket, which needs no password.
func newScoped(t *testing.T, scopes string) *scoped {
	t.Helper()
	dir := t.TempDir()
	s := &scoped{t: t, file: filepath.Join(dir, "scopes")}
	s.conf = fmt.Sprintf("backuppartition-default: %s/store\nbackup_index_path: %s/index\nbackup_scopes: %s\n", dir, dir, s.file)
	s.write(scopes)
	s.b = realService(t, parseConf(t, s.conf))
	if err := s.b.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	srv, err := s.b.server(origin{service: "backupd"}, func(context.Context) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.ServeConn(t.Context(), far, replication.ConnOptions{Service: "backupd", Unix: true}) // ends with the test
	}()
	t.Cleanup(func() {
		near.Close()
		<-done
		if err := s.b.Close(); err != nil {
			t.Error(err)
		}
	})
	s.conn, s.in = near, bufio.NewReader(near)
	s.answer()
	return s
}

func (s *scoped) write(scopes string) {
	s.t.Helper()
	if err := os.WriteFile(s.file, []byte(scopes), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// answer reads to the status line.
func (s *scoped) answer() string {
	s.t.Helper()
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		if !strings.HasPrefix(line, "*") || strings.HasPrefix(line, "* OK") {
			return strings.TrimSpace(line)
		}
	}
}

func (s *scoped) want(command, answer string) {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.conn, "%s\r\n", command); err != nil {
		s.t.Fatal(err)
	}
	if got := s.answer(); got != answer {
		s.t.Errorf("%s: %q, want %q", command, got, answer)
	}
}

// A login gets the backups of its scope, and of others the answer with which sync_client continues
// with its next user. SIGHUP changes the scope of a connection, too.
func TestScopeOfALogin(t *testing.T) {
	const done, locked = "OK Success", "NO IMAP_MAILBOX_LOCKED Mailbox locked"
	s := newScoped(t, "%UNIX anne %SHARED/news\nmail2 *\n")
	s.want("GET USER anne", done)
	s.want("GET USER eve", locked)
	s.want("RESTART", "OK Restarting")
	// The real client repeats these for ever if they are refused.
	for _, box := range []string{`""`, "user.eve", "other"} {
		s.want("GET ANNOTATION "+box, done)
		s.want("APPLY ANNOTATION %(MBOXNAME "+box+" ENTRY /comment USERID NIL VALUE x)", done)
		s.want("APPLY UNANNOTATION %(MBOXNAME "+box+" ENTRY /comment USERID NIL)", done)
	}
	s.want("APPLY UNMAILBOX user.eve", "NO IMAP_MAILBOX_NONEXISTENT No Such Mailbox")
	s.want("GET MAILBOXES (news.local user.eve)", done)
	s.want("GET MAILBOXES (other)", locked)
	s.want("RESTART", "OK Restarting")
	s.write("%UNIX eve\n")
	if err := s.b.Reload(t.Context(), parseConf(t, s.conf)); err != nil {
		t.Fatal(err)
	}
	s.want("GET USER eve", done)
	s.want("GET USER anne", locked)
}

// A file with a mistake stops the start, and a reload.
func TestScopesWithAMistake(t *testing.T) {
	s := newScoped(t, "%UNIX anne\n")
	s.write("%UNIX\n")
	err := s.b.Reload(t.Context(), parseConf(t, s.conf))
	if want := s.file + ":1: login %UNIX has no users"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	s.want("GET USER eve", "NO IMAP_MAILBOX_LOCKED Mailbox locked")
}
