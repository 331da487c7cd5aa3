package replicationtest

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// Client talks to a server over a connection, one command at a time. It is for one
// goroutine.
type Client struct {
	Conn net.Conn
	r    *bufio.Reader
}

// Reply is the answer to one command.
type Reply struct {
	Untagged []string // lines without the "* " and the line end; literals unchanged
	Status   string   // the last line, without its line end
}

// OK reports whether the command succeeded.
func (r Reply) OK() bool { return strings.HasPrefix(r.Status, "OK ") }

// String returns the answer as on the wire, with lines ended by LF.
func (r Reply) String() string {
	var b strings.Builder
	for _, u := range r.Untagged {
		b.WriteString("* " + u + "\n")
	}
	return b.String() + r.Status + "\n"
}

// NewClient reads the banner and returns the Client and the banner's lines.
func NewClient(nc net.Conn) (*Client, []string, error) {
	c := &Client{Conn: nc, r: bufio.NewReader(nc)}
	lines, err := c.Banner()
	return c, lines, err
}

// Banner reads lines up to "* OK".
func (c *Client) Banner() ([]string, error) {
	var lines []string
	for {
		line, err := c.Line()
		if err != nil {
			return lines, fmt.Errorf("read banner: %w", err)
		}
		lines = append(lines, line)
		if strings.HasPrefix(line, "* OK ") {
			return lines, nil
		}
	}
}

// Line reads one line and removes its end.
func (c *Client) Line() (string, error) {
	line, err := c.r.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

// Login logs in by PLAIN.
func (c *Client) Login(user, password string) (Reply, error) {
	ir := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	return c.Do("AUTHENTICATE PLAIN " + ir)
}

// Do sends a command with a line end and reads the answer.
func (c *Client) Do(command string) (Reply, error) { return c.Send([]byte(command + "\r\n")) }

// Send sends a whole command and reads the answer. It writes and reads concurrently, so
// that a server may answer before it has read everything.
func (c *Client) Send(command []byte) (Reply, error) {
	written := make(chan error, 1)
	go func() {
		_, err := c.Conn.Write(command)
		written <- err
	}()
	reply, err := c.Reply()
	if err != nil {
		// End a write that nobody reads.
		_ = c.Conn.Close()
	}
	if werr := <-written; err == nil && werr != nil {
		err = fmt.Errorf("write command: %w", werr)
	}
	return reply, err
}

// Reply reads one answer.
func (c *Client) Reply() (Reply, error) {
	var reply Reply
	for {
		line, err := c.Line()
		if err != nil {
			return reply, fmt.Errorf("read reply: %w", err)
		}
		if !strings.HasPrefix(line, "* ") {
			reply.Status = line
			return reply, nil
		}
		for {
			n, ok := literalAtEnd(line)
			if !ok {
				break
			}
			body := make([]byte, n)
			if _, err := io.ReadFull(c.r, body); err != nil {
				return reply, fmt.Errorf("read reply: %w", err)
			}
			rest, err := c.Line()
			if err != nil {
				return reply, fmt.Errorf("read reply: %w", err)
			}
			line += "\n" + string(body) + rest
			if rest == "" {
				break
			}
		}
		reply.Untagged = append(reply.Untagged, line[2:])
	}
}

// literalAtEnd returns the size of the literal that a line announces.
func literalAtEnd(line string) (int64, bool) {
	if !strings.HasSuffix(line, "}") {
		return 0, false
	}
	open := strings.LastIndexByte(line, '{')
	if open < 0 {
		return 0, false
	}
	words := strings.Fields(strings.TrimSuffix(line[open+1:], "}"))
	if len(words) == 0 {
		return 0, false
	}
	n, err := dlist.ParseNum("", strings.TrimSuffix(words[len(words)-1], "+"), 1<<40)
	return int64(n), err == nil
}

// Wrap returns a Client on a connection whose banner has been read.
func Wrap(nc net.Conn) *Client { return &Client{Conn: nc, r: bufio.NewReader(nc)} }
