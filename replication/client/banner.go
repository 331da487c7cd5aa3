package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/klauspost/compress/flate"
)

// Banner is a server's description of itself (imap/backend.c, parse_capability).
type Banner struct {
	Mechs    []string // SASL mechanisms, upper case; none when no login is needed
	StartTLS bool
	Compress bool     // DEFLATE
	Features []string // other words: SIEVE-MAILBOX, REPLICATION-ARCHIVE, …
	Greeting string   // what follows "* OK": server name, product, version
}

func (c *Client) readBanner() error {
	var b Banner
	for range 100 {
		line, err := c.restOfLine()
		if err != nil {
			return fmt.Errorf("banner: %w", err)
		}
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "*" {
			return fmt.Errorf("banner: unexpected %.80q", line)
		}
		switch strings.ToUpper(words[1]) {
		case "OK":
			b.Greeting = strings.Join(words[2:], " ")
			if strings.Contains(b.Greeting, "IMAP4") {
				return errors.New("this is an IMAP server, not a replication port (csync, usually 2005); restore --to imap://... uses IMAP")
			}
			c.banner = b
			return nil
		case "SASL":
			b.Mechs = strings.Fields(strings.ToUpper(strings.Join(words[2:], " ")))
		case "STARTTLS":
			b.StartTLS = true
		case "COMPRESS":
			b.Compress = len(words) > 2 && strings.EqualFold(words[2], "DEFLATE")
		case "BYE":
			return refusal("banner", "BYE", strings.Join(words[2:], " "))
		default:
			b.Features = append(b.Features, words[1])
		}
	}
	return errors.New("banner: too many lines")
}

// simple sends a command that has no untagged reply.
func (c *Client) simple(ctx context.Context, line string) error {
	return c.command(ctx, line, func(w *bufio.Writer) error {
		_, err := w.WriteString(line)
		return err
	}, nil)
}

func (c *Client) startTLS(ctx context.Context, conf *tls.Config) error {
	if !c.banner.StartTLS {
		return errors.New("STARTTLS is not offered")
	}
	if err := c.simple(ctx, "STARTTLS"); err != nil {
		return err
	}
	// Data sent in the clear after the OK cannot be trusted.
	if c.r.Buffered() > 0 {
		return errors.New("STARTTLS: data before the handshake")
	}
	if err := c.handshake(ctx, conf); err != nil {
		return err
	}
	return c.readBanner()
}

func (c *Client) handshake(ctx context.Context, conf *tls.Config) error {
	conn, ok := c.conn.(net.Conn)
	if !ok {
		return errors.New("TLS needs a network connection")
	}
	t := tls.Client(conn, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	c.conn = t
	c.transport(bufio.NewReaderSize(t, bufSize), bufio.NewWriterSize(t, bufSize))
	return nil
}

// compress starts raw deflate in both directions. A refusal is tolerated, like in
// sync_client without -z.
func (c *Client) compress() error {
	err := c.simple(context.Background(), "COMPRESS DEFLATE")
	var r *RefusedError
	if errors.As(err, &r) && r.Status != "BYE" {
		return nil
	}
	if err != nil {
		return err
	}
	// The inflater continues from the old buffer, so nothing is lost between the two.
	out := c.out
	c.transport(bufio.NewReaderSize(flate.NewReader(c.r), bufSize), out)
	if c.deflate, err = flate.NewWriter(out, flate.DefaultCompression); err != nil {
		return err
	}
	c.w = bufio.NewWriterSize(c.deflate, bufSize)
	return nil
}

// Compressed reports whether the connection is compressed.
func (c *Client) Compressed() bool { return c.deflate != nil }
