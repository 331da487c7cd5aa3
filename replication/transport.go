package replication

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// errStopping is returned by a read that waited for a command when the server stopped.
var errStopping = errors.New("the server is stopping")

// errNoLogin ends a connection whose client does not log in within LoginTimeout.
var errNoLogin = errors.New("no login within the time limit")

// transport is the connection below all layers except TLS. It sets the timeout of each read
// and write, flushes the output before a read that may block, and can be interrupted while
// it waits for a command.
type transport struct {
	conn net.Conn
	// beforeRead flushes the output: a client that waits for an answer sends
	// nothing (lib/prot.c, prot_setflushonread).
	beforeRead func() error
	readLimit  time.Duration // of one read; 0 = none
	writeLimit time.Duration // of one write; 0 = none
	// loginBy ends every read and write, so that a client that sends a byte now and then
	// cannot hold one of the limited connections. Zero once the client has logged in.
	loginBy time.Time
	// patience is how long the client may be silent while its command takes shared memory: most of
	// it at first, and what is left of it. Both are 0 without such memory.
	patience, patienceLeft time.Duration
	rate                   time.Duration // bytes a second that keep it
	events                 Events

	mu       sync.Mutex
	waiting  bool // for the first byte of a command
	stopping bool
	stopped  chan struct{} // closed when stopping is set
}

func (t *transport) Read(p []byte) (int, error) {
	if err := t.beforeRead(); err != nil {
		return 0, err
	}
	start := time.Now() // before the deadline is set, so that a read that reaches it has used up the patience
	if err := t.armRead(); err != nil {
		return 0, err
	}
	n, err := t.conn.Read(p)
	if f := t.events.Read; f != nil && n > 0 {
		f(n)
	}
	t.waited(time.Since(start), n)
	switch {
	case n > 0 || !errors.Is(err, os.ErrDeadlineExceeded):
		return n, err
	case t.interrupted():
		return 0, errStopping
	case !t.loginBy.IsZero() && !time.Now().Before(t.loginBy):
		return 0, errNoLogin
	case t.patience > 0 && t.patienceLeft <= 0:
		return 0, errTooSlow
	}
	return n, err
}

// hurry makes the client send at the rate, in bytes a second, after it was silent for this long in
// total; 0 = it need not any more.
func (t *transport) hurry(patience time.Duration, rate int) {
	if patience == 0 || t.patience == 0 {
		t.patienceLeft = patience
	}
	t.patience, t.rate = patience, time.Duration(rate)
}

// waited records that n bytes came after a wait.
func (t *transport) waited(d time.Duration, n int) {
	if t.patience > 0 {
		t.patienceLeft = min(t.patience, t.patienceLeft-d+time.Duration(n)*time.Second/t.rate)
	}
}

// armRead sets the deadline of the next read, unless the server is stopping. The lock
// prevents a new deadline after stop has shortened it.
func (t *transport) armRead() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopping && t.waiting {
		return errStopping
	}
	// It fails only on a closed connection, and the read itself reports that better.
	_ = t.conn.SetReadDeadline(t.until(t.silence()))
	return nil
}

// silence returns how long the next read may take; 0 = for ever.
func (t *transport) silence() time.Duration {
	if t.patience > 0 && (t.readLimit == 0 || t.patienceLeft < t.readLimit) {
		return max(t.patienceLeft, time.Millisecond)
	}
	return t.readLimit
}

// until returns the deadline of an operation that begins now; zero means none.
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
	n, err := t.conn.Write(p)
	if f := t.events.Written; f != nil && n > 0 {
		f(n)
	}
	return n, err
}

// wait sets whether the next reads are for the first byte of a command. It returns
// errStopping if the server is stopping.
func (t *transport) wait(v bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = v
	if v && t.stopping {
		return errStopping
	}
	return nil
}

// stop makes the current or next wait for a command return errStopping. It may be called
// from another goroutine.
func (t *transport) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.stopping {
		t.stopping = true
		close(t.stopped)
	}
	if t.waiting {
		// A connection that cannot be interrupted ends with its client or at its timeout.
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
