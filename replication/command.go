package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// states is a set of connection states in which a verb may run.
type states uint8

const (
	beforeLogin states = 1 << iota
	afterLogin         // as an admin
	notAdmin           // logged in as a user without rights here

	always = beforeLogin | afterLogin
)

// verb is the first word of a command line. run must read the rest of the line in every
// case. It gets the verb in the spelling of the error lines.
type verb struct {
	in   states
	run  func(c *conn, ctx context.Context, verb string) error
	name string // for Events
}

// verbs returns the command table. AUTHENTICATE itself refuses a second login after it has
// read its arguments, as Cyrus does.
//
// A user who is not an admin may only leave. Cyrus refuses even EXIT (backup/backupd.c,
// cmdloop), which is of no use to anybody, so EXIT is allowed here. Cyrus also refuses
// NOOP, and so does this server: a rolling client that was refused sends NOOP to find out
// whether it should continue, and OK would make it reconnect immediately in an endless loop
// (imap/sync_client.c, do_daemon).
//
// COMPRESS requires a login. Cyrus does not require one, but its client logs in first. A
// compressor takes more memory than the rest of a connection, so it must not be available
// to everyone who can reach the port.
func verbs() map[string]verb {
	t := map[string]verb{
		"Authenticate": {in: always, run: (*conn).authenticate},
		"Starttls":     {in: always, run: (*conn).starttls},
		"Compress":     {in: afterLogin, run: (*conn).compress},
		"Noop":         {in: always, run: (*conn).noop},
		"Restart":      {in: always, run: (*conn).restart},
		"Exit":         {in: always | notAdmin, run: (*conn).exit},
		"Get":          {in: afterLogin, run: (*conn).get},
		"Apply":        {in: afterLogin, run: (*conn).apply},
		"Restore":      {in: afterLogin, run: (*conn).restore},
	}
	for key, v := range t {
		v.name = strings.ToUpper(key)
		t[key] = v
	}
	return t
}

func (c *conn) currentState() states {
	switch {
	case c.user == "":
		return beforeLogin
	case c.admin:
		return afterLogin
	}
	return notAdmin
}

// command reads a verb and runs it.
func (c *conn) command(ctx context.Context) error {
	word, err := c.dec.Word()
	if err != nil {
		return c.fatal(err)
	}
	if word == "" {
		return c.refuseLine("BAD Null command")
	}
	name := capitalized(word)
	v, known := c.srv.verbs[name]
	if known {
		c.running = v.name
	} else {
		if done, err := c.imapProbe(word); done {
			return err
		}
	}
	switch state := c.currentState(); {
	case state == notAdmin && v.in&notAdmin == 0:
		return c.refuseLine("NO Permission denied")
	case !known:
		c.log().Warn("unknown command", "verb", printable(name))
		if err := c.dec.SkipLine(); err != nil {
			return lost(err)
		}
		// Slow these down: no login is needed, and each one logs a line.
		return c.refuse(ctx, "unknown command", "BAD IMAP_PROTOCOL_ERROR Unrecognized command")
	case v.in&state == 0:
		return c.refuseLine("NO Please authenticate first")
	}
	return v.run(c, ctx, name)
}

// fatal reports a protocol error to the client, if it is still reachable, and ends the
// connection, like Cyrus's fatal().
func (c *conn) fatal(err error) error {
	var syntax *dlist.SyntaxError
	if !errors.As(err, &syntax) {
		return lost(err)
	}
	if err := c.reply("* Fatal error: " + syntax.Msg); err != nil {
		return err
	}
	return errors.Join(err, c.flush())
}

// lost means that the stream ended within a command.
func lost(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read command: %w", err)
}

// refuseLine reads the rest of the command and answers with line.
func (c *conn) refuseLine(line string) error {
	if err := c.dec.SkipLine(); err != nil {
		return lost(err)
	}
	return c.reply(line)
}

// arg reads a space and the word after it, which may be empty. A literal is not a word and
// stays unread, so that refuseLine skips it.
func (c *conn) arg() (word string, present bool, err error) {
	// At least a line end follows a space, so peeking at two bytes never waits for a byte
	// that may not arrive.
	b, err := c.in.Peek(1)
	if err == nil && b[0] == ' ' {
		b, err = c.in.Peek(2)
	}
	if err != nil {
		return "", false, lost(err)
	}
	if b[0] != ' ' {
		return "", false, nil
	}
	literal := b[1] == '{'
	// Peek showed that the byte exists.
	_, _ = c.in.Discard(1)
	if literal {
		return "", true, nil
	}
	word, err = c.dec.Word()
	if err != nil {
		return "", false, c.fatal(err)
	}
	return word, true, nil
}

// endOfLine reads the end of a command. If there is more text, it refuses the command and
// done is false.
func (c *conn) endOfLine(verb string) (done bool, err error) {
	err = c.dec.End()
	var syntax *dlist.SyntaxError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &syntax):
		return false, c.refuseLine("BAD Unexpected extra arguments to " + verb)
	}
	return false, lost(err)
}

// capitalized writes a verb as the table and Cyrus's error lines do.
func capitalized(s string) string {
	return strings.ToUpper(s[:1]) + strings.ToLower(s[1:])
}
