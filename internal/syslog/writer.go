package syslog

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// maxMessage is the longest message that rsyslog accepts by default.
const maxMessage = 8 << 10

// fullTimeout is how long a message waits while the socket is known to be full. A much shorter
// timeout could expire on a busy host before the write is tried.
const fullTimeout = 10 * time.Millisecond

// writer writes to the log daemon's socket, or to the fallback.
type writer struct {
	tag      string // ident[pid]:
	facility Facility
	path     string
	fallback io.Writer
	timeout  time.Duration
	dropped  atomic.Uint64

	mu     sync.Mutex
	conn   net.Conn
	stream bool
	full   bool   // the last write timed out
	lost   uint64 // dropped since the last delivered message
}

func newWriter(opt Options) *writer {
	w := &writer{
		tag:      opt.Ident + "[" + strconv.Itoa(os.Getpid()) + "]: ",
		facility: opt.Facility,
		path:     opt.Path,
		fallback: opt.Fallback,
		timeout:  opt.Timeout,
	}
	if w.path == "" {
		w.path = "/dev/log"
	}
	if w.fallback == nil {
		w.fallback = os.Stderr
	}
	if w.timeout <= 0 {
		w.timeout = 100 * time.Millisecond
	}
	return w
}

func (w *writer) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closeLocked()
}

func (w *writer) closeLocked() error {
	if w.conn == nil {
		return nil
	}
	conn := w.conn
	w.conn = nil
	return conn.Close()
}

// write sends one message, or drops it if the socket stays full.
func (w *writer) write(severity int, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text = cut(text, maxMessage)
	err := w.sendLocked(severity, text)
	switch {
	case err == nil:
		w.full = false
		w.reportLocked()
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.full = true
		w.lost++
		w.dropped.Add(1)
	default:
		if _, err := fmt.Fprintf(w.fallback, "%s%s\n", w.tag, text); err != nil {
			w.dropped.Add(1)
		}
	}
}

// reportLocked logs the number of messages dropped since the last delivered one.
func (w *writer) reportLocked() {
	if w.lost == 0 {
		return
	}
	if w.sendLocked(4, fmt.Sprintf("messages lost because the log daemon did not read them count=%d", w.lost)) == nil {
		w.lost = 0
	}
}

// sendLocked reconnects once if the daemon was restarted.
func (w *writer) sendLocked(severity int, text string) error {
	if w.conn != nil {
		err := w.putLocked(severity, text)
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) && !w.stream {
			return err
		}
		// A stream may have a partial message, so it cannot be used any more.
		_ = w.closeLocked()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	if err := w.dialLocked(); err != nil {
		return err
	}
	return w.putLocked(severity, text)
}

// dialLocked tries both kinds of socket: most daemons use datagrams, some a stream.
func (w *writer) dialLocked() error {
	conn, err := net.DialTimeout("unixgram", w.path, w.timeout)
	w.stream = err != nil
	if err != nil {
		conn, err = net.DialTimeout("unix", w.path, w.timeout)
	}
	if err != nil {
		return err
	}
	w.conn = conn
	return nil
}

func (w *writer) putLocked(severity int, text string) error {
	// The format of the C library: the daemon adds the host.
	m := fmt.Appendf(nil, "<%d>%s %s%s", int(w.facility)|severity, time.Now().Format(time.Stamp), w.tag, text)
	if w.stream {
		m = append(m, 0)
	}
	timeout := w.timeout
	if w.full {
		timeout = min(timeout, fullTimeout)
	}
	if err := w.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := w.conn.Write(m)
	return err
}

// cut shortens s to at most n bytes, at a character boundary.
func cut(s string, n int) string {
	const mark = " [...]"
	if len(s) <= n {
		return s
	}
	n -= len(mark)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + mark
}
