package replication

import (
	"context"
	"net"
	"time"
)

// watch waits for the server to stop, until the returned function is called.
func (c *conn) watch(ctx context.Context, nc net.Conn, cancel context.CancelFunc) (unwatch func()) {
	done := make(chan struct{})
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		select {
		case <-ctx.Done():
		case <-c.opt.Draining:
			c.transport.stop()
			select {
			case <-ctx.Done():
			case <-done:
				return
			}
		case <-done:
			return
		}
		c.transport.stop()
		grace := time.NewTimer(c.srv.opt.StopGrace)
		defer grace.Stop()
		select {
		case <-grace.C:
			cancel()
			// Interrupt a read or write that would wait for the client.
			_ = nc.SetDeadline(time.Unix(1, 0))
			_ = nc.Close()
		case <-done:
		}
	}()
	return func() {
		close(done)
		<-finished
	}
}

// shutdown returns the message of the shutdown file.
func (c *conn) shutdown() (string, bool) {
	if c.srv.opt.ShutdownMessage == nil {
		return "", false
	}
	msg, down := c.srv.opt.ShutdownMessage()
	if msg == "" {
		msg = "shutting down"
	}
	return printable(msg), down
}

// bye sends BYE. The connection must be closed after it: a client that reads BYE and can
// continue loses log entries (client-behaviour.md 3f).
func (c *conn) bye(text string) error {
	if err := c.reply("BYE " + text); err != nil {
		return err
	}
	return c.flush()
}
