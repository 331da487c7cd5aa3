package replication_test

import (
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

// A client that does not log in loses its connection, whatever it sends meanwhile.
func TestLoginTimeout(t *testing.T) {
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) { o.LoginTimeout = 100 * time.Millisecond })
	for name, words := range map[string]string{
		"silent":     "",
		"commands":   "NOOP\r\n",
		"one line":   "x",
		"a login":    "AUTHENTICATE PLAIN\r\n",
		"a literal":  "GET USER {99999999}\r\n",
		"begins TLS": "STARTTLS\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := dial(t, srv, replication.ConnOptions{})
			go func() {
				for words != "" {
					if _, err := b.Conn.Write([]byte(words)); err != nil {
						return
					}
					time.Sleep(5 * time.Millisecond)
				}
			}()
			go func() {
				for {
					if _, err := b.Line(); err != nil {
						return
					}
				}
			}()
			select {
			case err := <-b.ended:
				if err == nil {
					t.Error("ServeConn: no error")
				}
			case <-time.After(10 * time.Second):
				t.Error("connection is still open")
			}
		})
	}
}

func TestLoginTimeoutEndsAtLogin(t *testing.T) {
	const limit = 2 * time.Second
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) { o.LoginTimeout = limit })
	b, unix := dial(t, srv, replication.ConnOptions{}), dial(t, srv, replication.ConnOptions{Unix: true})
	b.want("AUTHENTICATE PLAIN "+b64("\x00repl\x00secret"), "OK Success (no protection)")
	time.Sleep(limit + limit/10)
	b.want("NOOP", "OK Noop completed")
	unix.want("NOOP", "OK Noop completed")
}

// The time limit includes a handshake, which the server does not read itself.
func TestLoginTimeoutInHandshake(t *testing.T) {
	tls := withTLS(t)
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) {
		tls(o)
		o.LoginTimeout = 50 * time.Millisecond
	})
	b := dial(t, srv, replication.ConnOptions{})
	b.want("STARTTLS", "OK Begin TLS negotiation now")
	select {
	case err := <-b.ended:
		if err == nil {
			t.Error("ServeConn: no error")
		}
	case <-time.After(10 * time.Second):
		t.Error("connection is still open")
	}
}
