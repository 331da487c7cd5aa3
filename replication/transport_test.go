package replication

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// A silent client is disconnected after the read limit, and a client that does not read
// after the write limit.
func TestTransportLimits(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	flushed := 0
	tr := transport{
		conn: server, beforeRead: func() error { flushed++; return nil },
		readLimit: time.Millisecond, writeLimit: time.Millisecond, stopped: make(chan struct{}),
	}
	if _, err := tr.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	if _, err := tr.Write(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
	if flushed != 1 {
		t.Errorf("flushed %d times before 1 read", flushed)
	}
}
