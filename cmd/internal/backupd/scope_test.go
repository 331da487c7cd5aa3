package backupd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/master"
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

// The client of 3.12 asks for a mailbox under its former name, too. Although that is in the scope, the
// mailbox is not sent at each attempt, but once an hour.
func TestFormerNameInTheScope(t *testing.T) {
	const done, locked = "OK Success", "NO IMAP_MAILBOX_LOCKED Mailbox locked"
	s := newScoped(t, "%UNIX anne\n")
	at := time.Now()
	s.b.refusals.now = func() time.Time { return at }
	attempt := func(first string) {
		t.Helper()
		s.want("GET MAILBOXES (user.anne user.eve)", first)
		if first == done {
			s.want("APPLY MAILBOX %(UNIQUEID 7d1c1f6e-0b3c-4b52-9d3e-1f6a4b7c8d9e MBOXNAME user.eve LAST_UID 0 HIGHESTMODSEQ 1 RECENTUID 0 "+
				"RECENTTIME 0 LAST_APPENDDATE 0 POP3_LAST_LOGIN 0 UIDVALIDITY 1700000000 PARTITION default ACL \"\" OPTIONS P RECORD ())", locked)
		}
		s.want("RESTART", "OK Restarting")
	}
	attempt(done)
	attempt(locked)
	attempt(locked)
	s.want("GET MAILBOXES (user.anne user.bob)", done)      // other names were not sent
	s.want("GET MAILBOXES (user.anne user.eve.Work)", done) // nor this one of the same backup
	at = at.Add(refusalsFor + time.Second)
	attempt(done)
	attempt(locked)
}

// A service with another imapd.conf has its own scopes. SIGHUP reads them again; a mistake keeps the former ones.
func TestScopesOfAnotherService(t *testing.T) {
	s := newScoped(t, "%UNIX anne\n")
	dir := t.TempDir()
	conf, file := filepath.Join(dir, "other.conf"), filepath.Join(dir, "scopes")
	put := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(conf, strings.Replace(s.conf, s.file, file, 1)+"configdirectory: "+dir+"\n")
	put(file, "%UNIX eve\n")
	users := func() (has string) {
		t.Helper()
		p, err := s.b.policyOf(origin{conf, "other"})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range []string{"anne", "bob", "eve"} {
			if p.scopes.Load().Of("%UNIX").User(u) {
				has += u
			}
		}
		return has
	}
	if got := users(); got != "eve" {
		t.Errorf("%q, want eve", got)
	}
	for _, c := range []struct{ text, want string }{{"%UNIX bob\n", "bob"}, {"%UNIX\n", "bob"}, {"%UNIX anne\n", "anne"}} {
		put(file, c.text)
		if err := s.b.Reload(t.Context(), parseConf(t, s.conf)); err != nil {
			t.Fatal(err)
		}
		if got := users(); got != c.want {
			t.Errorf("after SIGHUP with %q: %q, want %q", c.text, got, c.want)
		}
	}
}

// The settings of another service, which has no scopes, get a mistake, which may be in its first scopes. It refuses
// new connections, and nothing reads the settings at each command of the others, until they are mended.
func TestMistakeOfAnotherService(t *testing.T) {
	s := newScoped(t, "%UNIX anne\n")
	dir := t.TempDir()
	conf := filepath.Join(dir, "other.conf")
	put := func(text string) {
		t.Helper()
		lines := "backuppartition-default: " + dir + "/store\nconfigdirectory: " + dir + "\n"
		if err := os.WriteFile(conf, []byte(lines+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("servername: former\n")
	o := origin{conf, "other"}
	was, err := s.b.policyOf(o)
	if err != nil {
		t.Fatal(err)
	}
	const mistake = "servername: wrong\nbackup_scopes: /nonexistent\n"
	keeps := func(when string) {
		t.Helper()
		if p, err := s.b.policyOf(o); err == nil {
			t.Errorf("%s: a new connection gets the settings of %q", when, p.name)
		}
		put("servername: unread\n")
		if p := s.b.newest(o, was); p != was {
			t.Errorf("%s: the settings are read at a command: %q", when, p.name)
		}
		put("servername: mended\n")
		if p, err := s.b.policyOf(o); err != nil || p.name != "mended" || s.b.newest(o, was) != p {
			t.Errorf("%s: after the mistake was mended: %v, %v", when, p, err)
		}
	}
	put(mistake)
	if err := s.b.Reload(t.Context(), parseConf(t, s.conf)); err != nil {
		t.Fatal(err)
	}
	was = s.b.newest(o, was)
	keeps("after SIGHUP")

	put(mistake)
	delete(s.b.policy.Load().others, o) // the first connection of the service began during SIGHUP
	if p := s.b.newest(o, was); p != was {
		t.Errorf("a mistake during SIGHUP: %q", p.name)
	}
	keeps("a mistake during SIGHUP")
}

// Scopes apply at once, even if other changes need a new process: this one serves its connections for a
// while.
func TestScopesBeforeANewProcess(t *testing.T) {
	s := newScoped(t, "%UNIX anne\n")
	s.want("GET USER anne", "OK Success")
	s.write("%UNIX eve\n")
	if err := s.b.Reload(t.Context(), parseConf(t, s.conf+"backup_pack_size: 8M\n")); !errors.Is(err, master.ErrRecycle) {
		t.Fatal(err)
	}
	s.want("GET USER anne", "NO IMAP_MAILBOX_LOCKED Mailbox locked")
	s.want("GET USER eve", "OK Success")
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

// The settings of a service are on a disk that does not answer. Another service's connections do not wait for it.
func TestSlowSettingsOfAnotherService(t *testing.T) {
	s := newScoped(t, "%UNIX anne\n")
	dir := t.TempDir()
	conf, slow := filepath.Join(dir, "other.conf"), filepath.Join(dir, "slow.conf")
	text := "backuppartition-default: " + dir + "/store\nconfigdirectory: " + dir + "\n"
	if err := errors.Join(os.WriteFile(conf, []byte(text), 0o600), syscall.Mkfifo(slow, 0o600)); err != nil {
		t.Fatal(err)
	}
	was, err := s.b.policyOf(origin{conf, "other"})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		_, err := s.b.policyOf(origin{slow, "slow"})
		got <- err
	}()
	disk, err := os.OpenFile(slow, os.O_WRONLY, 0) // returns when it is being read
	if err != nil {
		t.Fatal(err)
	}
	s.b.newest(origin{conf, "other"}, was) // would wait for ever
	if _, err := disk.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(disk.Close(), <-got); err != nil {
		t.Error(err)
	}
}

// SIGHUP comes while the settings of a service are read for its first connection: they are read again.
func TestFirstConnectionDuringReload(t *testing.T) {
	s := newScoped(t, "%UNIX anne\n")
	own := s.b.policy.Load()
	p, o := &policy{name: "former"}, origin{"other.conf", "other"}
	s.b.readOthers()
	if got := own.add(o, p, 0); got != nil {
		t.Errorf("settings of before SIGHUP are used: %q", got.name)
	}
	if got := own.add(o, p, 1); got != p {
		t.Error("settings of after SIGHUP are not used")
	}
}
