package fakeserver

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/klauspost/compress/flate"
	"github.com/xdg-go/scram"
)

// dispatch reads the arguments of a command and executes it. The status is "" if the answer
// has already been sent.
func (c *conn) dispatch() (status string, err error) {
	switch c.verb {
	case "GET", "APPLY", "RESTORE":
		if c.key, err = c.d.Key(); err != nil {
			return "", err
		}
		if c.verb == "GET" {
			return c.get()
		}
		return c.apply()
	}
	arg, err := c.rest()
	if err != nil {
		return "", err
	}
	switch c.verb {
	case "NOOP":
		return "OK Noop completed", nil
	case "RESTART":
		return "OK Restarting", nil
	case "EXIT":
		return "OK Finished", nil
	case "AUTHENTICATE":
		return c.authenticate(arg)
	case "STARTTLS":
		return c.startTLS()
	case "COMPRESS":
		return c.compress()
	}
	return "BAD IMAP_PROTOCOL_ERROR Unrecognized command", nil
}

// rest reads the rest of the line.
func (c *conn) rest() (string, error) {
	s, err := c.r.ReadString('\n')
	return strings.TrimSpace(s), err
}

func (c *conn) authenticate(arg string) (string, error) {
	mech, initial, _ := strings.Cut(arg, " ")
	first, err := base64.StdEncoding.DecodeString(initial)
	if err != nil {
		return "BAD not base64", nil
	}
	switch {
	case strings.EqualFold(mech, "PLAIN"):
		part := strings.Split(string(first), "\x00")
		if c.s.Passwords != nil && (len(part) != 3 || c.s.Passwords[part[1]] == "" || c.s.Passwords[part[1]] != part[2]) {
			return "NO authentication failure", nil
		}
		return "OK Success (no protection)", nil
	case strings.EqualFold(mech, "SCRAM-SHA-256") && c.s.Passwords != nil:
		return c.scram(string(first))
	}
	return "NO no mechanism available", nil
}

func (c *conn) scram(message string) (string, error) {
	srv, err := scram.SHA256.NewServer(c.credentials)
	if err != nil {
		return "", err
	}
	conv := srv.NewConversation()
	for !conv.Done() {
		challenge, err := conv.Step(message)
		if err != nil {
			return "NO authentication failure", nil
		}
		if err := c.line("+ " + base64.StdEncoding.EncodeToString([]byte(challenge))); err != nil {
			return "", err
		}
		line, err := c.rest()
		if err != nil {
			return "", err
		}
		b, err := base64.StdEncoding.DecodeString(line)
		if err != nil {
			return "BAD not base64", nil
		}
		message = string(b)
	}
	return "OK Success (no protection)", nil
}

func (c *conn) credentials(user string) (scram.StoredCredentials, error) {
	password, ok := c.s.Passwords[user]
	if !ok {
		return scram.StoredCredentials{}, fmt.Errorf("no user %q", user)
	}
	cl, err := scram.SHA256.NewClient(user, password, "")
	if err != nil {
		return scram.StoredCredentials{}, err
	}
	return cl.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "0123456789abcdef", Iters: 4096})
}

func (c *conn) startTLS() (string, error) {
	netConn, ok := c.rw.(net.Conn)
	if c.s.TLS == nil || !ok {
		return "NO command not implemented", nil
	}
	if err := c.line("OK Begin TLS negotiation now"); err != nil {
		return "", err
	}
	if c.r.Buffered() > 0 {
		return "", errors.New("data before the handshake")
	}
	t := tls.Server(netConn, c.s.TLS)
	c.rw, c.tls = t, true
	c.transport(bufio.NewReader(t), t)
	return "", c.greet()
}

func (c *conn) compress() (string, error) {
	if !c.s.Compress || c.deflate != nil {
		return "NO not now", nil
	}
	if err := c.line("OK DEFLATE active"); err != nil {
		return "", err
	}
	c.transport(bufio.NewReaderSize(flate.NewReader(c.r), 64<<10), c.rw)
	var err error
	if c.deflate, err = flate.NewWriter(c.out, flate.BestSpeed); err != nil {
		return "", err
	}
	c.w = bufio.NewWriter(c.deflate)
	return "", nil
}
