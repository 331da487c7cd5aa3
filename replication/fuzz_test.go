package replication_test

import (
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

// hang limits how long a connection may continue after its client has left. The machine may
// be busy.
const hang = 10 * time.Second

// feed sends input in one of the states of a connection, hangs up, and waits for the server
// to finish.
func feed(t *testing.T, state byte, input []byte) {
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) {
		o.Limits = dlist.Limits{MaxWord: 1 << 12, MaxQuoted: 1 << 12, MaxLiteral: 1 << 16, MaxItems: 1 << 12}
	})
	client, server := net.Pipe()
	b := serve(t, srv, server, replication.ConnOptions{Unix: state%3 == 1})
	go func() {
		switch state % 3 {
		case 2:
			_, _ = client.Write([]byte("AUTHENTICATE PLAIN\r\n"))
		}
		_, _ = client.Write(input)
		_ = client.Close()
	}()
	// Read all output, so that the server never waits for the client.
	_, _ = io.Copy(io.Discard, client)
	select {
	case err := <-b.ended:
		if err != nil && strings.HasPrefix(err.Error(), "panic") {
			t.Error(err)
		}
	case <-time.After(hang):
		stacks := make([]byte, 1<<20)
		t.Fatalf("still running:\n%s", stacks[:runtime.Stack(stacks, true)])
	}
}

func FuzzConn(f *testing.F) {
	for _, c := range commands {
		for state := range byte(3) {
			f.Add(state, []byte(c.command+"\r\nNOOP\r\nEXIT\r\n"))
		}
	}
	f.Add(byte(1), []byte("APPLY MAILBOX %(RECORD (%(UID 1 FLAGS (\\Seen"))
	f.Add(byte(1), []byte("GET USER {99999999999999999999+}\r\n"))
	f.Add(byte(1), []byte("APPLY MESSAGE (%{p x 9223372036854775807}\r\n"))
	f.Add(byte(0), []byte("C01 CAPABILITY\r\n"))
	f.Add(byte(2), []byte("*\r\nAUTHENTICATE LOGIN AA==\r\n"))
	f.Add(byte(1), []byte("COMPRESS DEFLATE\r\n\x00\x01\x02\xff"))
	f.Fuzz(feed)
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
