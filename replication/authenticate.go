package replication

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/replication/sasl"
)

// maxAuthLine limits the length of a line in a SASL exchange. Cyrus has a buffer of the
// same size (imap/saslserver.c, BASE64_BUF_SIZE).
const maxAuthLine = 21848

// errCancelled means that the client cancelled a login.
var errCancelled = errors.New("client canceled authentication")

// errLongLine means that a line of a SASL exchange exceeds maxAuthLine.
var errLongLine = errors.New("line too long")

// ioError means that the connection failed during a login.
type ioError struct{ err error }

func (e *ioError) Error() string { return e.err.Error() }
func (e *ioError) Unwrap() error { return e.err }

// authenticate is AUTHENTICATE mechanism [initial response].
func (c *conn) authenticate(ctx context.Context, verb string) error {
	mech, ok, err := c.arg()
	if err != nil {
		return err
	}
	if !ok {
		return c.refuseLine("BAD Missing required argument to " + verb)
	}
	if !isAtom(mech) {
		return c.refuseLine("BAD Invalid mechanism")
	}
	initial, haveInitial, err := c.arg()
	if err != nil {
		return err
	}
	if done, err := c.endOfLine(verb); !done {
		return err
	}
	if c.user != "" {
		return c.reply("BAD Already authenticated")
	}
	var response []byte
	if haveInitial {
		if response, err = decodeResponse(initial); err != nil {
			return c.loginFailed(ctx, mech, "", err)
		}
	}
	id, claimed, err := c.exchange(ctx, mech, response)
	if err != nil {
		return c.loginFailed(ctx, mech, claimed, err)
	}
	return c.loggedIn(mech, id)
}

// exchange runs a login to its end. claimed is the name that the client claimed.
func (c *conn) exchange(ctx context.Context, mech string, response []byte) (id sasl.Identity, claimed string, err error) {
	x, err := c.srv.opt.Authenticator().Start(mech, c.authLayer())
	if err != nil {
		return id, "", err
	}
	for {
		challenge, done, err := x.Next(ctx, response)
		if err != nil {
			return id, x.Claimed(), err
		}
		if done {
			return x.Identity(), x.Claimed(), nil
		}
		// An empty challenge is a plus and a space.
		if err := c.reply("+ " + base64.StdEncoding.EncodeToString(challenge)); err != nil {
			return id, x.Claimed(), err
		}
		if response, err = c.authResponse(); err != nil {
			return id, x.Claimed(), err
		}
	}
}

// authResponse reads a line of base64, or "*".
func (c *conn) authResponse() ([]byte, error) {
	line, err := c.authLine()
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(line, "*") {
		return nil, errCancelled
	}
	return decodeResponse(line)
}

// authLine reads a line. A line that is too long is read to its end.
func (c *conn) authLine() (string, error) {
	var line []byte
	for {
		// ReadSlice returns a slice of the buffer.
		part, err := c.in.ReadSlice('\n')
		if room := maxAuthLine + 1 - len(line); room > 0 {
			line = append(line, part[:min(room, len(part))]...)
		}
		switch {
		case err == nil && len(line) > maxAuthLine:
			return "", errLongLine
		case err == nil:
			return strings.TrimRight(string(line), "\r\n"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", &ioError{lost(err)}
		}
	}
}

// loginFailed answers a failed login. fail2ban's rule for Cyrus looks for this wording in
// the log (backup/backupd.c, cmd_authenticate).
func (c *conn) loginFailed(ctx context.Context, mech, claimed string, err error) error {
	var reading *ioError
	var writing *writeError
	switch {
	case errors.As(err, &writing), errors.As(err, &reading):
		return err
	case errors.Is(err, errCancelled):
		c.noteLogin(mech, LoginCancelled, claimed)
		return c.reply("BAD Client canceled authentication")
	case errors.Is(err, errLongLine):
		c.noteLogin(mech, LoginRefused, claimed)
		return c.reply("NO Error reading client response: line too long")
	}
	c.noteRefused(mech, claimed, err)
	detail := err.Error()
	if claimed != "" {
		detail += ", user " + printable(claimed)
	}
	c.srv.notice(c, fmt.Sprintf("badlogin: %s %s [%s]", c.opt.Addr, printable(mech), detail))
	if d := c.srv.loginPause(c.opt.Addr); d > 0 {
		select {
		case <-c.srv.opt.Clock.After(d):
		case <-c.transport.stopped:
		case <-ctx.Done():
		}
	}
	return c.reply("NO " + sasl.ClientText(err))
}

// loggedIn records that the connection belongs to the user.
func (c *conn) loggedIn(mech string, id sasl.Identity) error {
	c.user, c.admin = id.User, id.Admin
	if c.admin {
		c.noteLogin(mech, LoginOK, c.user)
		if f := c.opt.LoggedIn; f != nil {
			f()
		}
	} else {
		c.noteLogin(mech, LoginNotAdmin, c.user)
	}
	c.transport.loginBy = time.Time{}
	layer := ""
	if c.tls {
		layer = "+TLS"
	}
	c.srv.notice(c, fmt.Sprintf("login: %s %s %s%s User logged in", c.opt.Addr, printable(c.user), mech, layer))
	if !c.admin {
		c.log().Warn("user is not an admin: everything will be denied", "user", c.user)
	}
	c.warnCleartext()
	c.state(false)
	protection := "no protection"
	if c.tls {
		protection = "tls protection"
	}
	if err := c.reply("OK Success (" + protection + ")"); err != nil {
		return err
	}
	// The telemetry log starts after this answer.
	if err := c.flush(); err != nil {
		return err
	}
	c.startTelemetry()
	return nil
}

// mechanisms returns the SASL mechanisms for the banner.
func (c *conn) mechanisms() []string { return c.srv.opt.Authenticator().Mechanisms(c.authLayer()) }

// authLayer describes the connection for package sasl.
func (c *conn) authLayer() sasl.Layer {
	l := sasl.Layer{SSF: c.opt.SSF, NoPassword: c.opt.NoPassword}
	tc, ok := c.transport.conn.(*tls.Conn)
	if !ok {
		return l
	}
	state := tc.ConnectionState()
	l.TLS = true
	l.SSF = max(l.SSF, cipherBits(state.CipherSuite))
	// The subject's common name, as in imap/tls.c (tls_start_servertls).
	if len(state.VerifiedChains) > 0 {
		l.External = state.VerifiedChains[0][0].Subject.CommonName
	}
	return l
}

// cipherBits returns the strength of a cipher suite of crypto/tls.
func cipherBits(suite uint16) int {
	switch name := tls.CipherSuiteName(suite); {
	case strings.Contains(name, "3DES"):
		return 112
	case strings.Contains(name, "_128_"):
		return 128
	}
	return 256
}

// decodeResponse decodes base64. "=" alone is an empty response that is present.
func decodeResponse(s string) ([]byte, error) {
	if s == "" || s == "=" {
		return []byte{}, nil
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("decode base64: %w", sasl.ErrProtocol)
	}
	return b, nil
}

// isAtom reports whether s is an IMAP atom (lib/imparse.c, imparse_isatom).
func isAtom(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`(){}%*"\`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
