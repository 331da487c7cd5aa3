package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/klauspost/compress/flate"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

const bufSize = 64 << 10

// maxLine limits a banner or status line.
const maxLine = 8 << 10

// Client is one connection to a csync server. Not for concurrent use.
type Client struct {
	conn    io.ReadWriteCloser
	idle    *idleConn // below conn; nil = it has no deadlines
	r       *bufio.Reader
	d       *dlist.Decoder
	out     *bufio.Writer // to conn
	w       *bufio.Writer // commands write here: out, or the compressor
	deflate *flate.Writer // nil = not compressed
	banner  Banner
	err     error // why the connection is broken
	// staged contains the messages uploaded in this unit of work, so that a message in
	// several mailboxes is sent once (imap/sync_support.c, sync_msgid_lookup).
	staged  map[cyrus.GUID]struct{}
	observe func(command string, total, wait time.Duration)
}

func newClient(conn io.ReadWriteCloser) *Client {
	c := &Client{conn: conn, staged: make(map[cyrus.GUID]struct{})}
	if network, ok := conn.(net.Conn); ok {
		c.idle = &idleConn{Conn: network}
		c.conn = c.idle
	}
	c.transport(bufio.NewReaderSize(c.conn, bufSize), bufio.NewWriterSize(c.conn, bufSize))
	return c
}

func (c *Client) transport(r *bufio.Reader, out *bufio.Writer) {
	c.r, c.out, c.w = r, out, out
	c.d = dlist.NewDecoder(r, dlist.Limits{})
}

// Banner returns the last banner of the server.
func (c *Client) Banner() Banner { return c.banner }

// Broken reports whether no further command can be sent, because the server closed the
// connection or because the start of the next reply is unknown.
func (c *Client) Broken() bool { return c.err != nil }

// Close closes the connection without EXIT; see Exit.
func (c *Client) Close() error { return c.conn.Close() }

// guard interrupts the connection when ctx ends.
func (c *Client) guard(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		if dl, ok := c.conn.(interface{ SetDeadline(time.Time) error }); ok {
			_ = dl.SetDeadline(time.Unix(1, 0))
			return
		}
		_ = c.conn.Close()
	})
}

func (c *Client) flush() error {
	if err := c.w.Flush(); err != nil {
		return err
	}
	if c.deflate == nil {
		return nil
	}
	if err := c.deflate.Flush(); err != nil {
		return err
	}
	return c.out.Flush()
}

// untagged reads one untagged value of a reply from d, exactly one value.
type untagged func(key string, d *dlist.Decoder) error

// command sends a command and reads the reply. write writes the command line without its
// line end. what names the command in errors.
func (c *Client) command(ctx context.Context, what string, write func(w *bufio.Writer) error, on untagged) error {
	if c.err != nil {
		return fmt.Errorf("%s: %w", what, c.err)
	}
	stop := c.guard(ctx)
	err := c.exchange(what, write, on)
	if !stop() {
		err = errors.Join(context.Cause(ctx), err)
		c.err = err
	}
	var r *RefusedError
	var unwanted *unwantedError
	switch {
	case err == nil, errors.As(err, &unwanted):
	case errors.As(err, &r):
		if r.Status == "BYE" {
			c.err = err
		}
		return err
	default:
		c.err = err
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (c *Client) exchange(what string, write func(w *bufio.Writer) error, on untagged) error {
	begun := time.Now()
	if err := write(c.w); err != nil {
		return err
	}
	if _, err := c.w.WriteString("\r\n"); err != nil {
		return err
	}
	if err := c.flush(); err != nil {
		return err
	}
	sent := time.Now()
	err := c.reply(what, on)
	if c.observe != nil {
		c.observe(what, time.Since(begun), time.Since(sent))
	}
	return err
}

// unwantedError is an error in a reply that was read to its end, so the connection stays
// usable.
type unwantedError struct{ err error }

func (e *unwantedError) Error() string { return e.err.Error() }
func (e *unwantedError) Unwrap() error { return e.err }

// reply reads untagged lines up to the status line.
func (c *Client) reply(what string, on untagged) error {
	var unwanted error
	for {
		word, err := c.d.Word()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if word != "*" {
			status := strings.ToUpper(word)
			text, err := c.restOfLine()
			switch {
			case err != nil:
				return err
			case status == "OK" && unwanted != nil:
				return &unwantedError{unwanted}
			case status == "OK":
				return nil
			case status == "NO" || status == "BAD" || status == "BYE":
				return refusal(what, status, text)
			}
			return fmt.Errorf("reply %.40q is not a status line", word+" "+text)
		}
		if err := c.untagged(on); err != nil {
			var syntax *dlist.SyntaxError
			var lost *connError
			if errors.As(err, &lost) || errors.As(err, &syntax) {
				return err
			}
			if unwanted == nil {
				unwanted = err
			}
			if err := c.d.SkipLine(); err != nil {
				return err
			}
		}
	}
}

// connError is an error of the connection, as opposed to an invalid value.
type connError struct{ err error }

func (e *connError) Error() string { return e.err.Error() }
func (e *connError) Unwrap() error { return e.err }

// untagged reads one untagged line after its star.
func (c *Client) untagged(on untagged) error {
	key, err := c.d.Key()
	if err != nil {
		return err
	}
	// The connection ends after "* Fatal error: text".
	if key == "Fatal" {
		text, err := c.restOfLine()
		if err != nil {
			return &connError{err}
		}
		return &connError{errors.New("server: Fatal " + text)}
	}
	if on == nil {
		err = c.d.Skip() // ignored, as in sync_client
	} else {
		err = on(key, c.d)
	}
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return &connError{err}
		}
		return fmt.Errorf("reply %s: %w", key, err)
	}
	return c.d.End()
}

// restOfLine reads text up to CR? LF and returns it without the line end and the leading
// space.
func (c *Client) restOfLine() (string, error) {
	var sb strings.Builder
	for sb.Len() < maxLine {
		b, err := c.r.ReadByte()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
		if b == '\n' {
			return strings.Trim(sb.String(), " \r"), nil
		}
		sb.WriteByte(b)
	}
	return "", errors.New("line too long")
}
