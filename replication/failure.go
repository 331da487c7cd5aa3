package replication

import (
	"context"
	"errors"
	"log/slog"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// failurePolicy says what a request does when the Session cannot carry it out,
// beside the refusals that the client understands. The facts were found out
// with a real client (client-behaviour.md 2, 3 and 11): on its own, most commands do
// not take LOCKED as "later" but spin at hundreds of connections a second, and a
// refusal of a shared mailbox can lose its log entry. A close never loses anything.
//
// Busy (cyrus.ErrLocked) is trouble that ends by itself; unavailable
// (cyrus.ErrUnavailable) lasts until somebody repairs something. Between an answered
// GET USER or GET MAILBOXES and the next RESTART the client defers whatever is locked,
// so there every policy but ignored is deferrable.
type failurePolicy uint8

const (
	// deferrable: both are answered LOCKED, and the client comes back later.
	deferrable failurePolicy = iota
	// promotable: both become a plain NO. The client then asks for more, by
	// GET META and GET USER, and at GET USER it understands LOCKED.
	promotable
	// ignored is promotable inside a unit of work, too: the client ignores every refusal.
	ignored
	// notDeferrable: both close the connection; the client keeps its log.
	notDeferrable
	// droppable: busy closes the connection, unavailable is NONEXISTENT: the client takes
	// what it wanted to be removed for gone, and goes on to the next user.
	droppable
	// quotaChain: busy closes the connection, unavailable is a plain NO. The client then asks
	// GET USER NIL and GET USER "", whose answers let it go on (get_user.go). No other
	// error is ever shown to it.
	quotaChain
	// neverRefused: whatever the Session says, the client never sees a NO.
	neverRefused
)

// sessionError is an error of the Session, to tell it from those of the wire.
type sessionError struct{ err error }

func (e *sessionError) Error() string { return e.err.Error() }
func (e *sessionError) Unwrap() error { return e.err }

// fromSession marks err as the Session's.
func fromSession(err error) error {
	if err == nil {
		return nil
	}
	return &sessionError{err}
}

// refusals are the errors that a client knows, with the texts that sync_server
// sends (imap/sync_support.c, sync_response). The space and text behind the
// token matter: the client compares them (sync_parse_response).
var refusals = [...]struct {
	err  error
	line string
}{
	{cyrus.ErrLocked, "NO IMAP_MAILBOX_LOCKED Mailbox locked"},
	{cyrus.ErrNonexistent, "NO IMAP_MAILBOX_NONEXISTENT No Such Mailbox"},
	{cyrus.ErrMoved, "NO IMAP_MAILBOX_MOVED Mailbox exists with another name or uniqueid"},
	{cyrus.ErrSyncChanged, "NO IMAP_SYNC_CHANGED Changed since last sync"},
	{cyrus.ErrBadParameters, "NO IMAP_PROTOCOL_BAD_PARAMETERS Bad parameters"},
	{dlist.ErrField, "NO IMAP_PROTOCOL_BAD_PARAMETERS Bad parameters"},
	{cyrus.ErrProtocol, "NO IMAP_PROTOCOL_ERROR Protocol error"},
}

// refusal returns the line for err, if it is one that the client knows.
func refusal(err error) (line string, ok bool) {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return r.line, true
		}
	}
	return "", false
}

// errHangUp ends the connection without an answer.
var errHangUp = errors.New("connection closed instead of an answer")

// answer ends a request: it reads what is left of the command and writes the
// status line for err. It returns an error if the connection must end.
func (c *conn) answer(ctx context.Context, what string, policy failurePolicy, err error) error {
	if err == nil {
		return c.reply("OK Success")
	}
	if e := c.wireError(err); e != nil {
		return e
	}
	if errors.Is(err, cyrus.ErrClose) && !errors.Is(err, cyrus.ErrUnavailable) {
		return c.hangUp(what, err)
	}
	if err := c.dec.SkipLine(); err != nil {
		return lost(err)
	}
	var syntax *dlist.SyntaxError
	var session *sessionError
	switch {
	case errors.As(err, &session):
		return c.answerSession(ctx, what, policy, session.err)
	case errors.As(err, &syntax):
		c.log().Warn("malformed command", "command", what, "err", err)
		return c.refuse(ctx, what, "BAD IMAP_PROTOCOL_ERROR Failed to parse "+what+" line")
	}
	line, _ := refusal(err)
	c.log().Warn("bad parameters", "command", what, "subject", c.subject, "err", err)
	return c.refuse(ctx, what, line)
}

// wireError returns err if it is about the connection and not about what was
// said: then there is nobody to answer.
func (c *conn) wireError(err error) error {
	var syntax *dlist.SyntaxError
	var session *sessionError
	var writing *writeError
	switch {
	case errors.As(err, &writing):
		return err
	case errors.As(err, &session), errors.As(err, &syntax):
		return nil
	}
	if _, ok := refusal(err); ok || errors.Is(err, cyrus.ErrClose) {
		return nil
	}
	return lost(err)
}

// answerSession answers for what the Session could not do.
func (c *conn) answerSession(ctx context.Context, what string, policy failurePolicy, err error) error {
	unavailable := errors.Is(err, cyrus.ErrUnavailable)
	if unavailable || errors.Is(err, cyrus.ErrLocked) {
		return c.putOff(ctx, what, policy, unavailable, err)
	}
	if policy == neverRefused || policy == quotaChain {
		return c.hangUp(what, err)
	}
	if errors.Is(err, cyrus.ErrAskUser) {
		c.log().Info("command refused, so that the client compares the whole user", "command", what, "subject", c.subject, "err", err)
		return c.reply(unknownError(what, c.subject))
	}
	line, known := refusal(err)
	if !known {
		c.log().Error("command failed", "command", what, "subject", c.subject, "err", err)
		return c.refuse(ctx, what, unknownError(what, c.subject))
	}
	c.log().Info("command refused", "command", what, "subject", c.subject, "err", err)
	return c.refuse(ctx, what, line)
}

// putOff answers so that the client comes back later for this user, and goes on to
// others now, as far as the command allows. The Session has logged what is unavailable.
func (c *conn) putOff(ctx context.Context, what string, policy failurePolicy, unavailable bool, err error) error {
	if c.within && policy != ignored {
		policy = deferrable
	}
	level := slog.LevelInfo
	if unavailable {
		level = slog.LevelDebug
	}
	switch {
	case policy == deferrable:
		// The client comes back once in each of its rounds: no need to slow it down.
		c.log().Log(ctx, level, "command deferred", "command", what, "subject", c.subject, "err", err)
		return c.reply("NO IMAP_MAILBOX_LOCKED Mailbox locked")
	case policy == promotable, policy == ignored, policy == quotaChain && unavailable:
		// At once: it is GET USER that the client comes back with.
		c.log().Log(ctx, level, "command refused, to be deferred at GET USER", "command", what, "subject", c.subject, "err", err)
		return c.reply(unknownError(what, c.subject))
	case policy == droppable && unavailable:
		c.log().Warn("a removal is not recorded: its backup is unavailable; what was removed stays in the backup until sync_client -u",
			"command", what, "subject", c.subject, "err", err)
		return c.reply("NO IMAP_MAILBOX_NONEXISTENT No Such Mailbox")
	}
	if unavailable {
		// A rolling client that master starts again comes back at once, with the same.
		c.pause(ctx, what)
	}
	return c.hangUp(what, err)
}

// unknownError is what Cyrus says for every error that has no token. The client
// looks at nothing behind NO.
func unknownError(what, subject string) string {
	line := "NO Unknown error in " + what
	if subject != "" {
		line += " for " + printable(subject)
	}
	return line
}

// hangUp closes the connection instead of refusing.
func (c *conn) hangUp(what string, err error) error {
	c.log().Error("connection closed instead of a refusal", "command", what, "subject", c.subject, "err", err)
	return errHangUp
}

// refuse writes line, later if the same was refused a moment ago.
func (c *conn) refuse(ctx context.Context, what, line string) error {
	c.pause(ctx, what)
	return c.reply(line)
}

// pause waits if the same was refused a moment ago.
func (c *conn) pause(ctx context.Context, what string) {
	key := c.subject
	if key == "" {
		key = c.opt.Addr + " " + what
	}
	if d := c.srv.slow.refused(key); d > 0 {
		select {
		case <-c.srv.opt.Clock.After(d):
		case <-c.transport.stopped:
		case <-ctx.Done():
		}
	}
}
