package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Options configure a connection. The zero value is a plain connection without login.
type Options struct {
	User     string      // authentication id; "" = no login (UNIX socket)
	Password Secret      //
	Mech     string      // PLAIN or SCRAM-SHA-256; "" = the strongest offered
	TLS      *tls.Config // nil = no TLS
	StartTLS bool        // with TLS: after a plain banner; false = from the first byte
	Compress bool        // COMPRESS DEFLATE if it is offered
	// DialTimeout limits connecting, TLS and login together; 0 = 10 s, as sync_client's client_timeout.
	DialTimeout time.Duration
	// Observe, if set, is called for each answered command: total is the time since its
	// first byte, wait the time since its last byte, which the server took.
	Observe func(command string, total, wait time.Duration)
}

// Secret is a password. It is never printed in logs.
type Secret string

func (Secret) String() string { return "(secret)" }

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// Dial connects to "host:port", or, when addr begins with a slash, to the UNIX
// socket of that path, and logs in.
func Dial(ctx context.Context, addr string, o Options) (*Client, error) {
	if o.DialTimeout <= 0 {
		o.DialTimeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if o.TLS != nil && o.TLS.ServerName == "" && !o.TLS.InsecureSkipVerify && network == "tcp" {
		o.TLS = o.TLS.Clone()
		o.TLS.ServerName, _, _ = net.SplitHostPort(addr)
	}
	c, err := New(ctx, conn, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return c, nil
}

// New logs in on an existing connection, such as a program's standard input and output. On
// an error it closes conn.
func New(ctx context.Context, conn io.ReadWriteCloser, o Options) (*Client, error) {
	c := newClient(conn)
	c.observe = o.Observe
	stop := c.guard(ctx)
	err := c.start(ctx, o)
	stop()
	if err != nil {
		_ = conn.Close()
		return nil, errors.Join(ctx.Err(), err)
	}
	return c, nil
}

func (c *Client) start(ctx context.Context, o Options) error {
	if o.TLS != nil && !o.StartTLS {
		if err := c.handshake(ctx, o.TLS); err != nil {
			return err
		}
	}
	if err := c.readBanner(); err != nil {
		return err
	}
	if o.TLS != nil && o.StartTLS {
		if err := c.startTLS(ctx, o.TLS); err != nil {
			return err
		}
	}
	if o.User != "" {
		if err := c.authenticate(o); err != nil {
			return err
		}
	}
	if o.Compress && c.banner.Compress {
		return c.compress()
	}
	return nil
}
