package replication

import (
	"context"
	"errors"
	"log/slog"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// failurePolicy decides how a request is answered if the Session cannot execute it, apart
// from the refusals that the client understands. The facts come from experiments with a
// real client (client-behaviour.md 2, 3 and 11): most commands do not treat LOCKED as
// "later" by themselves but reconnect hundreds of times a second, and refusing a shared
// mailbox can lose its log entry. Closing the connection never loses anything.
//
// Busy (cyrus.ErrLocked) ends by itself; unavailable (cyrus.ErrUnavailable) lasts until
// somebody repairs the cause. Between an answered GET USER or GET MAILBOXES and the next
// RESTART the client defers everything that is locked, so there every policy except ignored
// acts like deferrable.
type failurePolicy uint8

const (
	// deferrable: both are answered with LOCKED, and the client retries later.
	deferrable failurePolicy = iota
	// promotable: both become a plain NO. The client then falls back to GET META and GET
	// USER, and GET USER understands LOCKED.
	promotable
	// ignored is like promotable, even inside a unit of work: the client ignores every
	// refusal.
	ignored
	// notDeferrable: both close the connection; the client keeps its log.
	notDeferrable
	// droppable: busy closes the connection, unavailable is NONEXISTENT: the client assumes
	// that the item to remove is already gone and continues with the next user.
	droppable
	// quotaChain: busy closes the connection, unavailable is a plain NO. The client then
	// sends GET USER NIL and GET USER "", and their answers let it continue (get_user.go).
	// It never sees any other error.
	quotaChain
	// neverRefused: the client never sees a NO, whatever error the Session returns.
	neverRefused
)

// sessionError marks an error of the Session, as opposed to an error of the wire.
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

// refusals are the errors that a client knows, with the texts that sync_server sends
// (imap/sync_support.c, sync_response). The space and text after the token matter: the
// client compares them (sync_parse_response).
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

// refusal returns the reply line for err if the client knows the error.
func refusal(err error) (line string, ok bool) {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return r.line, true
		}
	}
	return "", false
}

// errHangUp ends the connection without an answer.
var errHangUp = errors.New("connection closed without an answer")

// answer ends a request: it reads the rest of the command and writes the status line for
// err. It returns an error if the connection must end.
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
	c.dec.Release(0) // the rest of the command may be long in coming
	if err := c.dec.SkipLine(); err != nil {
		return lost(err)
	}
	var syntax *dlist.SyntaxError
	var session *sessionError
	switch {
	case errors.As(err, &session):
		return c.answerSession(ctx, what, policy, session.err)
	case errors.Is(err, errTooMuch):
		c.log().Warn("command refused: its argument is too large", "command", what, "subject", c.subject, "err", err)
		return c.refuse(ctx, what, "NO Argument of "+what+" is too large")
	case errors.As(err, &syntax):
		c.log().Warn("malformed command", "command", what, "err", err)
		return c.refuse(ctx, what, "BAD IMAP_PROTOCOL_ERROR Failed to parse "+what+" line")
	}
	line, _ := refusal(err)
	c.log().Warn("bad parameters", "command", what, "subject", c.subject, "err", err)
	return c.refuse(ctx, what, line)
}

// wireError returns err if the connection failed, as opposed to a fault in the command.
// Then no answer can be sent.
func (c *conn) wireError(err error) error {
	var syntax *dlist.SyntaxError
	var session *sessionError
	var writing *writeError
	switch {
	case errors.As(err, &writing):
		return err
	case errors.As(err, &session), errors.As(err, &syntax), errors.Is(err, errTooMuch):
		return nil
	}
	if _, ok := refusal(err); ok || errors.Is(err, cyrus.ErrClose) {
		return nil
	}
	return lost(err)
}

// answerSession answers a request that the Session could not execute.
func (c *conn) answerSession(ctx context.Context, what string, policy failurePolicy, err error) error {
	if errors.Is(err, cyrus.ErrOutside) {
		return c.outside(ctx, what, policy, err)
	}
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

// putOff answers so that the client retries this user later and continues with others now,
// as far as the command allows. The Session has already logged an unavailable backup.
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
		// The client retries once per round, so there is no need to slow it down.
		c.log().Log(ctx, level, "command deferred", "command", what, "subject", c.subject, "err", err)
		return c.reply("NO IMAP_MAILBOX_LOCKED Mailbox locked")
	case policy == promotable, policy == ignored, policy == quotaChain && unavailable:
		// No delay: the client falls back to GET USER.
		c.log().Log(ctx, level, "command refused, to be deferred at GET USER", "command", what, "subject", c.subject, "err", err)
		return c.reply(unknownError(what, c.subject))
	case policy == droppable && unavailable:
		c.log().Warn("a removal is not recorded: the backup is unavailable; the removed item stays in the backup until sync_client -u",
			"command", what, "subject", c.subject, "err", err)
		return c.reply("NO IMAP_MAILBOX_NONEXISTENT No Such Mailbox")
	}
	if unavailable {
		// A rolling client restarted by master retries the same command at once.
		c.pause(ctx, what)
	}
	return c.hangUp(what, err)
}

// outside answers a request about a backup that the login may not touch, which the Session has logged.
// The answers are those for an unavailable backup, with two exceptions. A client that gets anything but OK
// to an annotation repeats it for ever, and its other users wait. And a connection is never closed: a client
// that does not ask before it sends RENAME (it has a cache) continues with other users after LOCKED.
func (c *conn) outside(ctx context.Context, what string, policy failurePolicy, err error) error {
	switch {
	case policy == neverRefused:
		c.log().Debug("command ignored", "command", what, "subject", c.subject, "err", err)
		return c.reply("OK Success")
	case policy == droppable && !c.within:
		c.log().Debug("command refused", "command", what, "subject", c.subject, "err", err)
		return c.reply("NO IMAP_MAILBOX_NONEXISTENT No Such Mailbox")
	case policy == notDeferrable:
		policy = deferrable
	}
	return c.putOff(ctx, what, policy, true, err)
}

// unknownError is Cyrus's answer for an error without a token. The client ignores the text
// after NO.
func unknownError(what, subject string) string {
	line := "NO Unknown error in " + what
	if subject != "" {
		line += " for " + printable(subject)
	}
	return line
}

// hangUp closes the connection instead of refusing a command.
func (c *conn) hangUp(what string, err error) error {
	c.log().Error("connection closed instead of a refusal", "command", what, "subject", c.subject, "err", err)
	return errHangUp
}

// refuse writes line, after a delay if the same thing was refused recently.
func (c *conn) refuse(ctx context.Context, what, line string) error {
	c.pause(ctx, what)
	return c.reply(line)
}

// pause waits if the same thing was refused recently.
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
