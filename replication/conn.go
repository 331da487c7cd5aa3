package replication

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// Buffer sizes of one connection. Bodies stream through, so larger buffers gain nothing.
const (
	inputBuffer  = 32 << 10
	outputBuffer = 16 << 10
	// strangerBuffer is the size of both until the client has logged in as an admin: many may never do so.
	strangerBuffer = 4 << 10
)

// conn is one connection. Only transport.stop may be called from another goroutine.
type conn struct {
	srv       *Server
	opt       ConnOptions
	id        string
	transport transport
	tap       tap
	in        *bufio.Reader
	out       *bufio.Writer
	source    io.Reader // below in
	sink      io.Writer // below out
	dec       *dlist.Decoder
	deflate   *deflater // nil = not compressed
	tlsConfig *tls.Config

	lent       int64  // bytes borrowed for the current command
	user       string // "" = not logged in
	admin      bool
	tls        bool
	compressed bool

	session Session // nil until the first command that needs one
	subject string  // the user or mailbox of the current command, for slowdown and logs
	// The current command and the status line that answered it, for Events.
	running, answered string

	within  bool   // between an answered GET USER or GET MAILBOXES and RESTART
	scratch []byte // for one reply line

	commands context.Context // for calls of the Session
}

// ServeConn serves one connection and closes it. It returns nil if the client left (EXIT,
// or a close between two commands) or was sent BYE. Any other error states why the
// connection ended; the caller logs it.
//
// When ctx ends or opt.Draining is closed, a running command is finished, the client gets
// BYE at the command boundary, and the connection is closed. The client loses nothing
// (client-behaviour.md 3d).
func (s *Server) ServeConn(ctx context.Context, nc net.Conn, opt ConnOptions) (err error) {
	c := s.newConn(nc, opt)
	commands, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.commands = commands
	defer func() {
		if p := recover(); p != nil {
			c.log().Error("panic", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
		err = errors.Join(err, c.close(nc))
		cancel()
	}()
	defer c.watch(ctx, nc, cancel)()
	return c.serve(ctx)
}

func (s *Server) newConn(nc net.Conn, opt ConnOptions) *conn {
	if opt.Service == "" {
		opt.Service = "backupd"
	}
	if opt.UnixUser == "" {
		opt.UnixUser = "cyrus"
	}
	if opt.Addr == "" {
		opt.Addr = addrText(nc.RemoteAddr())
	}
	c := &conn{srv: s, opt: opt, id: s.sessionID(), tlsConfig: s.opt.tlsConfig()}
	c.transport = transport{
		conn:       nc,
		beforeRead: c.flush,
		readLimit:  s.opt.SyncTimeout,
		writeLimit: s.opt.WriteTimeout,
		loginBy:    time.Now().Add(s.opt.LoginTimeout),
		events:     s.opt.Events,
		stopped:    make(chan struct{}),
	}
	if opt.Unix {
		c.user, c.admin = opt.UnixUser, true
	}
	c.layer(&c.transport, &c.transport)
	return c
}

// layer makes new buffers above r and w. The caller handles the contents of the old
// buffers.
func (c *conn) layer(r io.Reader, w io.Writer) {
	in, out := inputBuffer, outputBuffer
	if !c.admin {
		in, out = strangerBuffer, strangerBuffer
	}
	c.source, c.sink = tapReader{&c.tap, r}, tapWriter{&c.tap, w}
	c.in = bufio.NewReaderSize(c.source, in)
	c.out = bufio.NewWriterSize(c.sink, out)
	c.decode()
}

// decode begins to decode the input with a new decoder.
func (c *conn) decode() {
	if c.dec != nil {
		c.dec.Release(0)
	}
	c.dec = dlist.NewDecoder(c.in, c.loans())
}

// widen makes larger buffers once the client has logged in as an admin.
func (c *conn) widen() error {
	if !c.admin || c.in.Size() >= inputBuffer {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	early, err := c.in.Peek(c.in.Buffered())
	if err != nil {
		return err
	}
	in := c.source
	if len(early) > 0 {
		in = io.MultiReader(bytes.NewReader(bytes.Clone(early)), in)
	}
	c.in = bufio.NewReaderSize(in, inputBuffer)
	c.out = bufio.NewWriterSize(c.sink, outputBuffer)
	c.decode()
	return nil
}

// serve sends the banner and runs commands until a command, or the connection, ends it.
func (c *conn) serve(ctx context.Context) error {
	if c.opt.ImplicitTLS {
		if err := c.handshake(ctx); err != nil {
			return err
		}
	}
	c.state(false)
	if c.opt.Unix {
		c.transport.loginBy = time.Time{}
		c.startTelemetry()
	}
	if msg, down := c.shutdown(); down {
		return c.bye(msg)
	}
	if err := c.banner(); err != nil {
		return err
	}
	for {
		err := c.next()
		switch {
		case err == nil:
		case errors.Is(err, errStopping):
			return c.bye("shutting down")
		case errors.Is(err, errExit):
			return c.flush()
		default:
			return err
		}
	}
}

// errExit is returned by a command that ends the connection normally: the server flushes
// and closes.
var errExit = errors.New("exit")

// next waits for a command and runs it.
func (c *conn) next() error {
	if err := c.transport.wait(true); err != nil {
		return err
	}
	err := c.widen()
	if err == nil {
		_, err = c.in.Peek(1)
	}
	_ = c.transport.wait(false) // only true fails
	if errors.Is(err, io.EOF) {
		return errExit
	}
	if err != nil {
		return fmt.Errorf("wait for a command: %w", err)
	}
	c.dec.Begin()
	c.subject, c.running, c.answered = "", Other, ""
	if msg, down := c.shutdown(); down {
		if err := c.dec.SkipLine(); err != nil {
			return lost(err)
		}
		if err := c.bye(msg); err != nil {
			return err
		}
		return errExit
	}
	err = c.command(c.commands)
	c.noteCommand(err)
	c.subject = ""
	c.dec.Release(0)
	return err
}

// close ends the Session and the connection.
func (c *conn) close(nc net.Conn) error {
	var errs []error
	c.dec.Release(0)
	if c.session != nil {
		if err := c.session.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close session: %w", err))
		}
	}
	if c.tls {
		// Close sends close_notify. It may fail because the peer has already left.
		_ = c.transport.conn.Close()
	}
	if err := nc.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		errs = append(errs, err)
	}
	c.tap.close()
	c.state(true)
	return errors.Join(errs...)
}

func (c *conn) state(ended bool) {
	if f := c.srv.opt.OnState; f != nil {
		f(ConnState{ID: c.id, Service: c.opt.Service, Addr: c.opt.Addr, User: c.user, Ended: ended})
	}
}

// ctx returns the context of the work done for this connection.
func (c *conn) ctx() context.Context { return c.commands }

// log returns a logger that names the connection.
func (c *conn) log() *slog.Logger { return c.srv.log.With("conn", cyrus.ShortSessionID(c.id)) }

// open returns the connection's Session and makes it on first use. The client waits 10 s
// for the login but 30 minutes for an answer (client-behaviour.md 4), so slow work is put
// off until then.
func (c *conn) open(ctx context.Context) (Session, error) {
	if c.session != nil {
		return c.session, nil
	}
	s, err := c.srv.opt.Backend.NewSession(ctx, Peer{
		ID: c.id, Service: c.opt.Service, Addr: c.opt.Addr, User: c.user, Unix: c.opt.Unix,
	})
	if err != nil {
		return nil, &sessionError{fmt.Errorf("open session: %w", err)}
	}
	c.session = s
	return s, nil
}
