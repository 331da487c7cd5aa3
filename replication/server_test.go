package replication_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

// oneUser knows one user and a password.
type oneUser struct{ user, password string }

func (u oneUser) CheckPassword(_ context.Context, user, password string) (bool, error) {
	return user == u.user && password == u.password, nil
}

// auth accepts the admin repl and the ordinary user guest; the password of both is
// "secret".
func auth(t testing.TB) func() *sasl.Authenticator {
	t.Helper()
	a, err := sasl.New(sasl.Options{
		AllowPlaintext: true,
		Admins:         sasl.Admins{Words: []string{"repl"}},
		Passwords:      []sasl.PasswordChecker{oneUser{"repl", "secret"}, oneUser{"guest", "secret"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() *sasl.Authenticator { return a }
}

// testClock advances only when somebody waits.
type testClock struct {
	mu     sync.Mutex
	now    time.Time
	waited []time.Duration
}

func newClock() *testClock { return &testClock{now: time.Unix(1700000000, 0)} }

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waited = append(c.waited, d)
	c.now = c.now.Add(d)
	ch := make(chan time.Time, 1)
	ch <- c.now
	return ch
}

func (c *testClock) takeWaited() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.waited
	c.waited = nil
	return w
}

// bench is a server with one connection to it.
type bench struct {
	*replicationtest.Client
	t      testing.TB
	srv    *replication.Server
	banner []string
	ended  chan error // what ServeConn returned
	cancel context.CancelFunc
}

func newServer(t testing.TB, backend replication.Backend, change func(*replication.Options)) *replication.Server {
	t.Helper()
	opt := replication.Options{
		ServerName:    "backup.example.com",
		Version:       "1.0",
		Authenticator: auth(t),
		Backend:       backend,
		Clock:         newClock(),
	}
	if change != nil {
		change(&opt)
	}
	srv, err := replication.NewServer(opt)
	if err != nil {
		t.Fatal(err)
	}
	return srv
}

// dial makes a connection to srv and reads the banner.
func dial(t testing.TB, srv *replication.Server, opt replication.ConnOptions) *bench {
	t.Helper()
	client, server := net.Pipe()
	b := serve(t, srv, server, opt)
	c, banner, err := replicationtest.NewClient(client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	b.Client, b.banner = c, banner
	return b
}

func serve(t testing.TB, srv *replication.Server, nc net.Conn, opt replication.ConnOptions) *bench {
	if opt.Addr == "" {
		opt.Addr = "client.example.com [192.0.2.1]"
	}
	ctx, cancel := context.WithCancel(context.Background())
	b := &bench{t: t, srv: srv, ended: make(chan error, 1), cancel: cancel}
	go func() {
		b.ended <- srv.ServeConn(ctx, nc, opt)
		close(b.ended)
	}()
	t.Cleanup(func() {
		cancel()
		for range b.ended {
		}
	})
	return b
}

// open makes a connection that is logged in, to its own server.
func open(t testing.TB, store *replicationtest.Store) *bench {
	t.Helper()
	return dial(t, newServer(t, store, nil), replication.ConnOptions{Unix: true})
}

// do sends a command and returns the whole answer.
func (b *bench) do(command string) string {
	b.t.Helper()
	r, err := b.Do(command)
	if err != nil {
		return fmt.Sprintf("closed: %v", cause(err))
	}
	return r.String()
}

// want fails the test unless the answer to command is want.
func (b *bench) want(command, want string) {
	b.t.Helper()
	if got := b.do(command); got != want+"\n" {
		b.t.Errorf("%.200q\n got %q\nwant %q", command, got, want+"\n")
	}
}

func cause(err error) error {
	for _, known := range []error{io.EOF, io.ErrClosedPipe} {
		if errors.Is(err, known) {
			return known
		}
	}
	return err
}
