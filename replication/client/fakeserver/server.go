// Package fakeserver is an in-memory csync server, or a null server that stores nothing.
// The tests of package client run against it and backup_replay measures against it. It is
// not a model for a real server: nothing is durable and it checks little.
package fakeserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// Server serves any number of connections. Set the fields before the first.
type Server struct {
	Null      bool              // accept everything, store nothing, answer MISSING to all
	Passwords map[string]string // users and passwords; nil = no login needed, and PLAIN accepts everybody
	TLS       *tls.Config       // offers STARTTLS
	Compress  bool              // offers COMPRESS DEFLATE
	// Refuse may answer a command in place of the server: "NO …", Drop, or "" for the server's
	// own answer. It is called after the command has been executed.
	Refuse func(verb, key string) string

	mu        sync.Mutex
	mailboxes map[string]*mailbox // by uniqueid
	bodies    map[cyrus.GUID][]byte
	subs      map[string][]string     // by userid
	accounts  map[string][]dlist.Pair // what GET USER reports beside mailboxes and subscriptions, by userid
	stats     Stats
}

// Drop closes the connection in place of an answer.
const Drop = "drop"

// Stats counts what a Server has received.
type Stats struct {
	Connections, Commands, Messages, Nils, Records int
	Bytes                                          int64    // of message bodies
	Log                                            []string // "APPLY MAILBOX", in order; not of a null server
}

type mailbox struct {
	head    cyrus.Mailbox
	records []*cyrus.Record // ascending uid
}

// Stats returns the current counts.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Log = append([]string(nil), st.Log...)
	return st
}

// Body returns an uploaded message.
func (s *Server) Body(g cyrus.GUID) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.bodies[g]
	return b, ok
}

// Serve accepts connections until ctx ends or l fails, and waits for them to end.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		wg.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			// A client's connection errors do not concern the server.
			_ = s.ServeConn(conn)
		})
	}
}

// conn is one connection.
type conn struct {
	s       *Server
	rw      io.ReadWriteCloser
	r       *bufio.Reader
	d       *dlist.Decoder
	out     *bufio.Writer
	w       *bufio.Writer
	deflate *flate.Writer
	tls     bool
	verb    string
	key     string
}

var errExit = errors.New("exit")

// ServeConn serves one connection to its end and closes it. EXIT and the end of the stream
// between commands are not errors.
func (s *Server) ServeConn(rw io.ReadWriteCloser) error {
	s.mu.Lock()
	s.stats.Connections++
	if s.mailboxes == nil {
		s.mailboxes, s.bodies, s.subs = map[string]*mailbox{}, map[cyrus.GUID][]byte{}, map[string][]string{}
		s.accounts = map[string][]dlist.Pair{}
	}
	s.mu.Unlock()
	c := &conn{s: s, rw: rw}
	defer func() { _ = c.rw.Close() }()
	c.transport(bufio.NewReaderSize(rw, 64<<10), rw)
	err := c.greet()
	for err == nil {
		err = c.next()
	}
	if errors.Is(err, errExit) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (c *conn) transport(r *bufio.Reader, w io.Writer) {
	c.r, c.d = r, dlist.NewDecoder(r, dlist.Limits{})
	c.out = bufio.NewWriterSize(w, 64<<10)
	c.w = c.out
}

func (c *conn) greet() error {
	var b strings.Builder
	if c.s.Passwords != nil {
		b.WriteString("* SASL PLAIN SCRAM-SHA-256\r\n")
	} else {
		b.WriteString("* SASL PLAIN\r\n")
	}
	if c.s.TLS != nil && !c.tls {
		b.WriteString("* STARTTLS\r\n")
	}
	if c.s.Compress && !c.tls {
		b.WriteString("* COMPRESS DEFLATE\r\n")
	}
	b.WriteString("* OK fake.example fakeserver 1")
	return c.line(b.String())
}

// line writes a line and everything before it.
func (c *conn) line(s string) error {
	if _, err := c.w.WriteString(s + "\r\n"); err != nil {
		return err
	}
	if err := c.w.Flush(); err != nil || c.deflate == nil {
		return err
	}
	if err := c.deflate.Flush(); err != nil {
		return err
	}
	return c.out.Flush()
}

// next reads one command and answers it.
func (c *conn) next() error {
	verb, err := c.d.Word()
	if err != nil {
		return err
	}
	c.verb, c.key = strings.ToUpper(verb), ""
	status, err := c.dispatch()
	if err != nil {
		var syntax *dlist.SyntaxError
		switch {
		case errors.As(err, &syntax):
			status = "BAD IMAP_PROTOCOL_ERROR " + syntax.Error()
		case errors.Is(err, cyrus.ErrBadParameters), errors.Is(err, dlist.ErrField):
			status = "NO IMAP_PROTOCOL_BAD_PARAMETERS " + err.Error()
		case errors.Is(err, cyrus.ErrSyncChanged):
			status = "NO IMAP_SYNC_CHANGED Changed since last sync"
		case errors.Is(err, cyrus.ErrNonexistent):
			status = "NO IMAP_MAILBOX_NONEXISTENT No Such Mailbox"
		default:
			return err
		}
		if err := c.d.SkipLine(); err != nil {
			return err
		}
	}
	c.count()
	if c.s.Refuse != nil {
		if r := c.s.Refuse(c.verb, c.key); r != "" {
			status = r
		}
		if status == Drop {
			return errExit
		}
	}
	if status == "" {
		return nil // answered
	}
	if err := c.line(status); err != nil {
		return err
	}
	if c.verb == "EXIT" {
		return errExit
	}
	return nil
}

func (c *conn) count() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.stats.Commands++
	if !c.s.Null {
		c.s.stats.Log = append(c.s.stats.Log, strings.TrimSpace(c.verb+" "+c.key))
	}
}
