package replication_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"net"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

// discard accepts everything and stores nothing.
type discard struct {
	replication.Session // the methods that a benchmark does not call
	records             int
}

func (d *discard) NewSession(context.Context, replication.Peer) (replication.Session, error) {
	return d, nil
}

func (d *discard) Message(_ context.Context, _ string, _ cyrus.GUID, _ int64, body io.Reader) error {
	_, err := io.Copy(io.Discard, body)
	return err
}

func (d *discard) ApplyMailbox(_ context.Context, _ *cyrus.Mailbox, _ cyrus.Since, records iter.Seq2[*cyrus.Record, error]) error {
	for _, err := range records {
		if err != nil {
			return err
		}
		d.records++
	}
	return nil
}

func (d *discard) Close() error { return nil }

// benchmark sends command repeatedly over a loopback connection.
func benchmark(b *testing.B, command []byte) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	serve(b, newServer(b, new(discard), nil), server, replication.ConnOptions{Unix: true})
	c, _, err := replicationtest.NewClient(client)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(command)))
	b.ReportAllocs()
	for b.Loop() {
		if r, err := c.Send(command); err != nil || !r.OK() {
			b.Fatal(r, err)
		}
	}
	client.Close()
}

func messageBatch(count, size int) []byte {
	body := bytes.Repeat([]byte("x"), size)
	sum := sha1.Sum(body)
	head := fmt.Appendf(nil, "%%{default %s %d}\r\n", hex.EncodeToString(sum[:]), size)
	command := []byte("APPLY MESSAGE (")
	for i := range count {
		if i > 0 {
			command = append(command, ' ')
		}
		command = append(append(command, head...), body...)
	}
	return append(command, ")\r\n"...)
}

func BenchmarkMessage5kB(b *testing.B) { benchmark(b, messageBatch(1024, 5000)) }
func BenchmarkMessage1MB(b *testing.B) { benchmark(b, messageBatch(16, 1<<20)) }

// BenchmarkMailbox is the line of a first upload of 20,000 messages (6 MB).
func BenchmarkMailbox(b *testing.B) {
	command := []byte("APPLY MAILBOX " + box + " RECORD (")
	for uid := 1; uid <= 20000; uid++ {
		if uid > 1 {
			command = append(command, ' ')
		}
		command = fmt.Appendf(command, "%%(UID %d MODSEQ %d LAST_UPDATED 1700000000 FLAGS (\\Seen) INTERNALDATE 1700000000 SIZE 5000 GUID %040x"+
			" ANNOTATIONS (%%(ENTRY /vendor/cmu/cyrus-imapd/savedate USERID \"\" MODSEQ 0 VALUE 1700000000)"+
			" %%(ENTRY /vendor/cmu/cyrus-imapd/createdmodseq USERID \"\" MODSEQ 0 VALUE %d)))", uid, uid+1, uid, uid+1)
	}
	benchmark(b, append(command, "))\r\n"...))
}

func BenchmarkNoop(b *testing.B) { benchmark(b, []byte("NOOP\r\n")) }

// A message takes no memory between the wire and the Session.
func TestMessageAllocations(t *testing.T) {
	const count = 256
	near, far := net.Pipe()
	defer near.Close()
	serve(t, newServer(t, new(discard), nil), far, replication.ConnOptions{Unix: true})
	c, _, err := replicationtest.NewClient(near)
	if err != nil {
		t.Fatal(err)
	}
	command := messageBatch(count, 5000)
	n := testing.AllocsPerRun(10, func() {
		if r, err := c.Send(command); err != nil || !r.OK() {
			t.Error(r, err)
		}
	})
	if n > count/2 { // net.Pipe takes some for each read
		t.Errorf("%v allocations for %d messages", n, count)
	}
}
