package replication

import (
	"context"
	"crypto/tls"
	"fmt"
)

// starttls is STARTTLS. After the handshake it sends a new banner, which the client waits
// for.
func (c *conn) starttls(ctx context.Context, verb string) error {
	if done, err := c.endOfLine(verb); !done {
		return err
	}
	switch {
	case c.tls:
		return c.reply("BAD Already did a successful Starttls")
	case c.user != "":
		return c.reply("BAD Can't Starttls after authentication")
	case c.srv.opt.NoStartTLS:
		return c.reply("NO STARTTLS is switched off")
	case c.tlsConfig == nil:
		return c.reply("NO Error initializing TLS")
	}
	if err := c.reply("OK Begin TLS negotiation now"); err != nil {
		return err
	}
	if err := c.flush(); err != nil {
		return err
	}
	// Buffered input was sent in the clear, possibly by an attacker, and must not count as
	// sent under TLS (CVE-2011-0411). The handshake drops the buffer.
	if err := c.handshake(ctx); err != nil {
		return err
	}
	return c.banner()
}

// handshake starts TLS on the connection and replaces the layers above it. Its time counts
// towards LoginTimeout.
func (c *conn) handshake(ctx context.Context) error {
	if c.tlsConfig == nil {
		return fmt.Errorf("tls handshake: no certificate is configured")
	}
	ctx, cancel := context.WithDeadline(ctx, c.transport.loginBy)
	defer cancel()
	tc := tls.Server(c.transport.conn, c.tlsConfig)
	if err := tc.HandshakeContext(ctx); err != nil {
		c.srv.notice(c, "STARTTLS failed: "+c.opt.Addr)
		return fmt.Errorf("tls handshake: %w", err)
	}
	c.tls = true
	c.transport.setConn(tc)
	c.layer(&c.transport, &c.transport)
	return nil
}
