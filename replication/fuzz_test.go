package replication_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/flate"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/fuzztest"
	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

// hang limits how long a connection may continue after its client has left. The machine may
// be busy.
const hang = 30 * time.Second

// What a connection may allocate: buffers, a store and TLS, and some values for each byte of input. A byte of a
// deflate stream becomes up to 1032 bytes (RFC 1951).
const (
	connBase    = 8 << 20
	connPerByte = 1 << 10
	inflated    = 1032
)

// connState is a state of a connection in which a fuzzer begins.
type connState struct {
	name    string
	admin   bool // the connection needs no login
	tls     bool // the client has begun TLS
	deflate bool // the input is compressed after COMPRESS
	prefix  string
	factor  int64 // for connPerByte
}

// connStates returns the states, by their number in the saved inputs.
func connStates() []connState {
	return []connState{
		{name: "before login"},
		{name: "logged in", admin: true},
		{name: "in a login", prefix: "AUTHENTICATE PLAIN\r\n"},
		{name: "in APPLY", admin: true, prefix: "APPLY MAILBOX " + box + " RECORD (" + record + " "},
		{name: "in a literal", admin: true, prefix: "APPLY MESSAGE (%{default " + guidHello + " 5}\r\nhe"},
		{name: "in an argument", admin: true, prefix: "APPLY SIEVE %(USERID u FILENAME f.script LAST_UPDATE 1 CONTENT {4000+}\r\n"},
		{name: "after a mailbox", admin: true, prefix: "APPLY MESSAGE (%{default " + guidHello + " 5}\r\nhello)\r\nAPPLY MAILBOX " + box + " RECORD (" + record + "))\r\n"},
		{name: "after COMPRESS", admin: true, deflate: true},
		{name: "in a deflate stream", admin: true, prefix: "COMPRESS DEFLATE\r\n", factor: inflated},
		{name: "in a TLS handshake", prefix: "STARTTLS\r\n"},
		{name: "after STARTTLS", tls: true},
	}
}

// sessions counts the sessions of a backend.
type sessions struct {
	replication.Backend
	n atomic.Int32
}

func (s *sessions) NewSession(ctx context.Context, peer replication.Peer) (replication.Session, error) {
	s.n.Add(1)
	return s.Backend.NewSession(ctx, peer)
}

// noLogin accepts nobody.
func noLogin(t testing.TB) func() *sasl.Authenticator {
	a, err := sasl.New(sasl.Options{AllowPlaintext: true, Passwords: []sasl.PasswordChecker{oneUser{"repl", rand.Text()}}})
	if err != nil {
		t.Fatal(err)
	}
	return func() *sasl.Authenticator { return a }
}

// feed sends input in a state of a connection, hangs up, and waits for the server to finish. A client that has not
// logged in never has a session.
func feed(t *testing.T, s connState, input []byte, config func(*replication.Options)) {
	backend := &sessions{Backend: replicationtest.NewStore()}
	srv := newServer(t, backend, func(o *replication.Options) {
		o.Limits = dlist.Limits{MaxWord: 1 << 12, MaxQuoted: 1 << 12, MaxLiteral: 1 << 16, MaxItems: 1 << 12}
		config(o)
	})
	b, conn := s.begin(t, srv)
	go func() {
		_, _ = conn.Write(s.bytes(t, input))
		_ = conn.Close()
	}()
	// Read all output, so that the server never waits for the client.
	_, _ = io.Copy(io.Discard, conn)
	select {
	case err := <-b.ended:
		if err != nil && strings.HasPrefix(err.Error(), "panic") {
			t.Error(err)
		}
	case <-time.After(hang):
		stacks := make([]byte, 1<<20)
		t.Fatalf("still running:\n%s", stacks[:runtime.Stack(stacks, true)])
	}
	if n := backend.n.Load(); n > 0 && !s.admin {
		t.Errorf("%d sessions without a login", n)
	}
}

// begin connects, and begins TLS if the state has it.
func (s connState) begin(t *testing.T, srv *replication.Server) (*bench, net.Conn) {
	if s.tls {
		b := dial(t, srv, replication.ConnOptions{})
		b.want("STARTTLS", "OK Begin TLS negotiation now")
		return b, startTLS(t, b.Conn)
	}
	client, server := net.Pipe()
	return serve(t, srv, server, replication.ConnOptions{Unix: s.admin}), client
}

// bytes returns what the client sends.
func (s connState) bytes(t *testing.T, input []byte) []byte {
	if !s.deflate {
		return append([]byte(s.prefix), input...)
	}
	var out bytes.Buffer
	out.WriteString("COMPRESS DEFLATE\r\n")
	w, err := flate.NewWriter(&out, flate.HuffmanOnly)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(input); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// FuzzConn gives the whole server the bytes of a hostile client, in each state of a connection.
func FuzzConn(f *testing.F) {
	states := connStates()
	for _, c := range commands {
		f.Add(byte(1), []byte(c.command+"\r\nNOOP\r\nEXIT\r\n"))
	}
	for i := range states {
		f.Add(byte(i), []byte("llo)\r\nNOOP\r\nGET USER anne\r\nEXIT\r\n"))
	}
	for _, said := range shortTranscripts(f) {
		f.Add(byte(1), said)
		f.Add(byte(7), said)
	}
	f.Add(byte(1), []byte("APPLY MAILBOX %(RECORD (%(UID 1 FLAGS (\\Seen"))
	f.Add(byte(1), []byte("GET USER {99999999999999999999+}\r\n"))
	f.Add(byte(1), []byte("APPLY MESSAGE (%{p x 9223372036854775807}\r\n"))
	f.Add(byte(0), []byte("C01 CAPABILITY\r\n"))
	f.Add(byte(2), []byte("*\r\nAUTHENTICATE LOGIN AA==\r\n"))
	f.Add(byte(3), []byte(record+"))\r\nNOOP\r\n"))
	f.Add(byte(8), []byte("\x00\x01\x02\xff"))
	tls := withTLS(f)
	nobody := noLogin(f)
	f.Fuzz(func(t *testing.T, state byte, input []byte) {
		s := states[int(state)%len(states)]
		limit := connBase + connPerByte*max(s.factor, 1)*int64(len(input))
		fuzztest.Within(t, limit, func() {
			feed(t, s, input, func(o *replication.Options) {
				tls(o)
				o.Authenticator = nobody
			})
		})
	})
}

// shortTranscripts returns what real clients sent in some short connections.
func shortTranscripts(f *testing.F) (all [][]byte) {
	for _, name := range []string{"3.12/b3-flags-expunge", "3.12/c5-rename-into-missing", "3.10/h6-shared-deep", "3.6/c3-flags"} {
		said, err := os.ReadFile("testdata/transcripts/" + name + ".c2s")
		if err != nil {
			f.Fatal(err)
		}
		commands, err := replicationtest.Commands(said)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, bytes.Join(commands, nil))
	}
	return all
}

// A command with a defect in any single place does not affect the next command, unless the
// place states a length.
func TestBrokenByte(t *testing.T) {
	for _, c := range commands {
		b := open(t, replicationtest.NewStore())
		for i := len("APPLY "); i < len(c.command); i++ {
			inHead := strings.LastIndexByte(c.command[:i], '{') > strings.LastIndexByte(c.command[:i], '}')
			if inHead || strings.IndexByte("0123456789{}%\"()\r\n", c.command[i]) >= 0 {
				continue
			}
			for _, by := range []string{"x", ")"} {
				broken := c.command[:i] + by + c.command[i+1:]
				if got := b.do(broken); strings.HasPrefix(got, "closed") {
					t.Fatalf("%q: %s", broken, got)
				}
				if got := b.do("NOOP"); got != "OK Noop completed\n" {
					t.Fatalf("%q: then NOOP: %s", broken, got)
				}
			}
		}
	}
}
