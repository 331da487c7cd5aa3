package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// states are the states of a connection in which a verb is run.
type states uint8

const (
	beforeLogin states = 1 << iota
	afterLogin         // as an admin
	notAdmin           // logged in as somebody who may do nothing here

	always = beforeLogin | afterLogin
)

// verb is a word that a command line may begin with. run has to read the rest
// of the line, whatever it does with it. It gets the verb as error lines spell it.
type verb struct {
	in  states
	run func(c *conn, ctx context.Context, verb string) error
}

// verbs returns the command table. AUTHENTICATE refuses a second login by
// itself, after its arguments are read, as Cyrus does.
//
// Somebody who is not an admin may only leave. Cyrus refuses even EXIT
// (backup/backupd.c, cmdloop), which gains nobody anything; NOOP it refuses too,
// and that is kept: a rolling client that is refused asks by NOOP whether it
// should go on, and OK would make it reconnect at once, for ever
// (imap/sync_client.c, do_daemon).
//
// COMPRESS waits for the login, which Cyrus does not ask for but its client does first:
// a compressor takes more memory than all else of a connection, and is nothing for
// whoever merely reaches the port.
func verbs() map[string]verb {
	return map[string]verb{
		"Authenticate": {always, (*conn).authenticate},
		"Starttls":     {always, (*conn).starttls},
		"Compress":     {afterLogin, (*conn).compress},
		"Noop":         {always, (*conn).noop},
		"Restart":      {always, (*conn).restart},
		"Exit":         {always | notAdmin, (*conn).exit},
		"Get":          {afterLogin, (*conn).get},
		"Apply":        {afterLogin, (*conn).apply},
		"Restore":      {afterLogin, (*conn).restore},
	}
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
	if !known {
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
		// Slowly: it needs no login, and each one is a line in the log.
		return c.refuse(ctx, "unknown command", "BAD IMAP_PROTOCOL_ERROR Unrecognized command")
	case v.in&state == 0:
		return c.refuseLine("NO Please authenticate first")
	}
	return v.run(c, ctx, name)
}

// fatal tells the client what broke the dialogue, if it still can, as Cyrus's
// fatal() does, and ends it.
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

// lost says that the stream ended within a command.
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

// arg reads a space and the word behind it, which may be empty. A literal is no
// word, and is left for refuseLine to skip.
func (c *conn) arg() (word string, present bool, err error) {
	// Behind a space there is at least a line end, so asking for two bytes waits
	// for none that need not come.
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
	// Peek has shown that the byte is there.
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

// endOfLine reads the end of a command. If there is more, the command has been
// refused and done is false.
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
