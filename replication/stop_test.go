package replication_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

// wantBye reads BYE and the end of the connection.
func (b *bench) wantBye(text string) {
	b.t.Helper()
	line, err := b.Line()
	if err != nil || line != "BYE "+text {
		b.t.Errorf("got %q %v, want BYE %s", line, err, text)
	}
	if line, err := b.Line(); err != io.EOF {
		b.t.Errorf("after BYE: %q %v", line, err)
	}
	if err := <-b.ended; err != nil {
		b.t.Errorf("ServeConn: %v", err)
	}
}

func TestStopWhileIdle(t *testing.T) {
	b := open(t, replicationtest.NewStore())
	b.want("NOOP", "OK Noop completed")
	b.cancel()
	b.wantBye("shutting down")

	draining := make(chan struct{})
	b = dial(t, newServer(t, replicationtest.NewStore(), nil), replication.ConnOptions{Unix: true, Draining: draining})
	close(draining)
	b.wantBye("shutting down")
}

func TestStopUnderTLS(t *testing.T) {
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close() })
	b := serve(t, newServer(t, replicationtest.NewStore(), withTLS(t)), server, replication.ConnOptions{ImplicitTLS: true})
	c, _, err := replicationtest.NewClient(startTLS(t, client))
	if err != nil {
		t.Fatal(err)
	}
	b.Client = c
	b.cancel()
	b.wantBye("shutting down")
}

// A running command is finished and answered before BYE.
func TestStopWithinCommand(t *testing.T) {
	store := replicationtest.NewStore()
	inside, goOn := make(chan struct{}), make(chan struct{})
	store.Fail = func(m, _ string) error {
		if m == "ApplySub" {
			close(inside)
			<-goOn
		}
		return nil
	}
	b := open(t, store)
	go func() {
		<-inside
		b.cancel()
		close(goOn)
	}()
	b.want("APPLY SUB %(USERID u MBOXNAME m)", "OK Success")
	b.wantBye("shutting down")
}

// stuck makes no session until it is stopped.
type stuck struct{}

func (stuck) NewSession(ctx context.Context, _ replication.Peer) (replication.Session, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A command that does not end within the grace period is aborted, with its connection.
func TestStopStuckCommand(t *testing.T) {
	srv := newServer(t, stuck{}, func(o *replication.Options) { o.StopGrace = time.Millisecond })
	b := dial(t, srv, replication.ConnOptions{Unix: true})
	written := make(chan struct{})
	go func() {
		_, _ = b.Conn.Write([]byte("GET USER anne\r\n"))
		close(written)
	}()
	<-written
	b.cancel()
	if err := <-b.ended; err == nil {
		t.Error("ServeConn returned nil")
	}
}

func TestShutdownFile(t *testing.T) {
	down := false
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) {
		o.ShutdownMessage = func() (string, bool) { return "back at noon", down }
	})
	b := dial(t, srv, replication.ConnOptions{Unix: true})
	b.want("NOOP", "OK Noop completed")
	down = true
	go func() { _, _ = b.Conn.Write([]byte("APPLY MESSAGE (%{p " + guidHello + " 5}\r\nhello)\r\n")) }()
	b.wantBye("back at noon")

	client, server := net.Pipe()
	t.Cleanup(func() { client.Close() })
	b = serve(t, srv, server, replication.ConnOptions{})
	b.Client = replicationtest.Wrap(client)
	b.wantBye("back at noon")
}
