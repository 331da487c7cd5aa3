package client

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// ErrIdle means that the server neither sent nor accepted a byte for the time of LimitIdle.
var ErrIdle = errors.New("the server does not answer")

// LimitIdle limits how long each further read from the network, and each write, may take; 0 = no limit.
// The time between commands does not count. A command that exceeds it fails with ErrIdle, and the
// connection is broken. A connection without deadlines, such as a program's standard input, has no limit.
func (c *Client) LimitIdle(most time.Duration) {
	if c.idle != nil {
		c.idle.limit(most)
	}
}

// idleConn moves the deadlines with each read and write.
type idleConn struct {
	net.Conn

	mu    sync.Mutex
	most  time.Duration
	fixed bool // somebody else has set a deadline, for an interruption
}

func (c *idleConn) limit(most time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.most = most
	if !c.fixed && most == 0 {
		_ = c.Conn.SetDeadline(time.Time{})
	}
}

// move sets a deadline, and returns the time up to it.
func (c *idleConn) move(set func(time.Time) error) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fixed || c.most == 0 {
		return 0
	}
	_ = set(time.Now().Add(c.most)) // a closed connection has no deadline, and the next call reports that
	return c.most
}

// Read implements net.Conn.
func (c *idleConn) Read(b []byte) (int, error) {
	most := c.move(c.Conn.SetReadDeadline)
	n, err := c.Conn.Read(b)
	return n, c.explain(err, most)
}

// Write implements net.Conn.
func (c *idleConn) Write(b []byte) (int, error) {
	most := c.move(c.Conn.SetWriteDeadline)
	n, err := c.Conn.Write(b)
	return n, c.explain(err, most)
}

// explain replaces the error of a deadline that was moved.
func (c *idleConn) explain(err error, most time.Duration) error {
	if most == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fixed {
		return err
	}
	return fmt.Errorf("%w for %v", ErrIdle, most)
}

// SetDeadline sets a deadline that no read or write moves.
func (c *idleConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fixed = true
	return c.Conn.SetDeadline(t)
}

// SetWriteDeadline is like SetDeadline. crypto/tls calls it when it closes a connection.
func (c *idleConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fixed = true
	return c.Conn.SetWriteDeadline(t)
}
