package partitions_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
)

// silence is the body of a message that a client has announced and does not send.
type silence struct{ ended chan struct{} }

var errSilent = errors.New("the client has left")

func (s silence) Read([]byte) (int, error) { <-s.ended; return 0, errSilent }

// announce lets n clients announce a message each and send nothing until the test ends.
func announce(t *testing.T, h *host, n int, size int64) {
	ended, left := make(chan struct{}), make(chan error)
	for i := range n {
		c := h.client()
		go func() {
			err := c.s.Message(t.Context(), "default", cyrus.GUID{byte(i), 1}, size, silence{ended})
			c.s.Close()
			left <- err
		}()
	}
	t.Cleanup(func() {
		close(ended)
		for range n {
			if err := <-left; !errors.Is(err, errSilent) && !errors.Is(err, context.Canceled) {
				t.Errorf("a silent client: %v", err)
			}
		}
	})
}

// Clients that announce messages and send nothing do not keep the memory of others. Whatever they
// announce, another client's messages are received.
func TestSilentClientsHoldNoMemory(t *testing.T) {
	for name, size := range map[string]int64{"small": 20 << 10, "one chunk": 900 << 10, "several chunks": 3 << 20} {
		t.Run(name, func(t *testing.T) {
			store := newStore()
			h := newHostWith(t, func(o *partitions.Options) {
				o.MemoryLimit, o.InlineLimit = 16<<20, 1<<20
				o.OutageWait, o.PatientWait = time.Minute, time.Minute
			}, store)
			announce(t, h, 40, size)
			time.Sleep(50 * time.Millisecond) // so that most of them wait already
			box := newSource("user.anne")
			for i := range 5 {
				box.deliver(noise(uint64(i+1), 900<<10))
			}
			began := time.Now()
			h.sync("anne", box)
			t.Logf("%v", time.Since(began))
			h.expectSame("anne", box)
			if err := box.differs(load(t, store, "user/anne")); err != nil {
				t.Error(err)
			}
		})
	}
}

// A message that arrived in a temporary file is checked like any other, and a file that cannot be
// made only defers the client.
func TestArrivalInFile(t *testing.T) {
	h := newHostWith(t, func(o *partitions.Options) {
		o.MemoryLimit, o.InlineLimit, o.OutageWait, o.PatientWait = 16<<20, 1<<10, time.Minute, time.Minute
	}, newStore())
	announce(t, h, 40, 900<<10)
	time.Sleep(50 * time.Millisecond)
	c := h.client()
	defer c.s.Close()
	body := noise(1, 100<<10)
	guid := cyrus.GUID(sha1.Sum(body))
	size := int64(len(body))
	if err := c.s.Message(t.Context(), "default", cyrus.GUID{1}, size, bytes.NewReader(body)); !errors.Is(err, cyrus.ErrBadParameters) {
		t.Errorf("a wrong GUID: %v", err)
	}
	if err := c.s.Message(t.Context(), "default", guid, size, bytes.NewReader(body[:100])); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the client is lost: %v", err)
	}
	was := os.TempDir()
	t.Setenv("TMPDIR", "/nonexistent")
	if err := c.s.Message(t.Context(), "default", guid, size, bytes.NewReader(body)); !errors.Is(err, cyrus.ErrLocked) {
		t.Errorf("no temporary file: %v", err)
	}
	t.Setenv("TMPDIR", was)
	if err := c.s.Message(t.Context(), "default", guid, size, bytes.NewReader(body)); err != nil {
		t.Error(err)
	}
}
