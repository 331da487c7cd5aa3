package replication

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// errStopping is what a read returns that waited for a command when the server
// was told to stop.
var errStopping = errors.New("the server is stopping")

// errNoLogin ends a connection whose client does not log in.
var errNoLogin = errors.New("no login within the time for it")

// transport is the connection under all layers but TLS: it sets the time limits
// of each read and write, lets the output go out before a read that may block,
// and can be interrupted while it waits for a command.
type transport struct {
	conn net.Conn
	// beforeRead flushes the output: a client that waits for an answer sends
	// nothing (lib/prot.c, prot_setflushonread).
	beforeRead func() error
	readLimit  time.Duration // of one read; 0 = none
	writeLimit time.Duration // of one write; 0 = none
	// loginBy ends every read and write: one byte now and then must not keep a place of
	// which there are not many. Zero once the client has logged in.
	loginBy time.Time

	mu       sync.Mutex
	waiting  bool // for the first byte of a command
	stopping bool
	stopped  chan struct{} // closed when stopping is set
}

func (t *transport) Read(p []byte) (int, error) {
	if err := t.beforeRead(); err != nil {
		return 0, err
	}
	if err := t.armRead(); err != nil {
		return 0, err
	}
	n, err := t.conn.Read(p)
	switch {
	case n > 0 || !errors.Is(err, os.ErrDeadlineExceeded):
		return n, err
	case t.interrupted():
		return 0, errStopping
	case !t.loginBy.IsZero() && !time.Now().Before(t.loginBy):
		return 0, errNoLogin
	}
	return n, err
}

// armRead sets the limit of the read to come, unless it is not to be made. The
// lock keeps a limit from being set after stop has cut it short.
func (t *transport) armRead() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopping && t.waiting {
		return errStopping
	}
	// It fails only on a closed connection, which the read will tell better.
	_ = t.conn.SetReadDeadline(t.until(t.readLimit))
	return nil
}

// until is when an operation that begins now has to be over; zero: whenever.
func (t *transport) until(limit time.Duration) time.Time {
	var at time.Time
	if limit > 0 {
		at = time.Now().Add(limit)
	}
	if !t.loginBy.IsZero() && (at.IsZero() || t.loginBy.Before(at)) {
		at = t.loginBy
	}
	return at
}

func (t *transport) Write(p []byte) (int, error) {
	_ = t.conn.SetWriteDeadline(t.until(t.writeLimit)) // as in armRead
	return t.conn.Write(p)
}

// wait says whether the reads from now on are for the first byte of a command.
// It returns errStopping if no command is to be waited for.
func (t *transport) wait(v bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = v
	if v && t.stopping {
		return errStopping
	}
	return nil
}

// stop makes the wait for the next command, or the current one, end with
// errStopping. It may be called from another goroutine.
func (t *transport) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.stopping {
		t.stopping = true
		close(t.stopped)
	}
	if t.waiting {
		// A connection that cannot be interrupted ends with its client or its time limit.
		_ = t.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

func (t *transport) interrupted() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stopping && t.waiting
}

// setConn replaces the connection, after STARTTLS.
func (t *transport) setConn(nc net.Conn) {
	t.mu.Lock()
	t.conn = nc
	t.mu.Unlock()
}
