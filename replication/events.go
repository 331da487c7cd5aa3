package replication

import (
	"errors"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/replication/sasl"
)

// Events are called when something happens that a server counts. They are called from many
// goroutines. nil fields are not called. The values of all arguments that are text come from small
// fixed sets, so that they can label metrics.
type Events struct {
	// Login is called after an attempt to log in. mechanism is one of sasl.Mechanisms, or Other.
	Login func(mechanism, result string)
	// Command is called after a command. name is in upper case, as in "APPLY MAILBOX", or Other.
	Command func(name, result string)
	// Read and Written are called with the bytes of each read and write of a connection: compressed
	// if the connection is, and without the overhead of TLS.
	Read, Written func(bytes int)
}

// Other is the name of a command or mechanism that the server does not know.
const Other = "other"

// The results of logins.
const (
	LoginOK          = "ok"
	LoginNotAdmin    = "not_admin"   // the password was right, and everything is denied
	LoginRefused     = "refused"     // wrong password, unknown user, or a mechanism that is not offered
	LoginUnavailable = "unavailable" // the passwords could not be checked
	LoginCancelled   = "cancelled"   // by the client
)

// The results of commands.
const (
	CommandOK            = "ok"
	CommandLocked        = "locked" // deferred: the client sends the command again later
	CommandNonexistent   = "nonexistent"
	CommandMoved         = "moved"
	CommandChanged       = "changed" // the client compares the mailbox again
	CommandBadParameters = "bad_parameters"
	CommandProtocolError = "protocol_error"
	CommandNo            = "no"
	CommandBad           = "bad"    // the command could not be understood
	CommandClosed        = "closed" // the server closed the connection instead of an answer
	CommandLost          = "lost"   // the connection failed before the answer
)

// Login is an attempt to log in.
type Login struct {
	Addr   string // see Peer.Addr
	User   string // that the client claims; "" = none
	Result string // LoginOK, …
}

// noteLogin reports an attempt to log in. user is the name that the client claims.
func (c *conn) noteLogin(mech, result, user string) {
	if f := c.srv.opt.OnLogin; f != nil {
		f(Login{Addr: c.opt.Addr, User: printable(user), Result: result})
	}
	if f := c.srv.opt.Events.Login; f != nil {
		if mech = strings.ToUpper(mech); !slices.Contains(sasl.Mechanisms(), mech) {
			mech = Other
		}
		f(mech, result)
	}
}

// noteRefused reports a login that failed with err.
func (c *conn) noteRefused(mech, user string, err error) {
	if errors.Is(err, sasl.ErrUnavailable) {
		c.noteLogin(mech, LoginUnavailable, user)
	} else {
		c.noteLogin(mech, LoginRefused, user)
	}
}

// noteCommand reports the command that has ended with err.
func (c *conn) noteCommand(err error) {
	f := c.srv.opt.Events.Command
	if f == nil {
		return
	}
	result := resultOf(c.answered)
	switch {
	case err == nil, errors.Is(err, errExit):
	case errors.Is(err, errHangUp):
		result = CommandClosed
	default:
		result = CommandLost
	}
	f(c.running, result)
}

// tokens are the results by the token in the answer.
var tokens = [...]struct{ token, result string }{
	{"IMAP_MAILBOX_LOCKED", CommandLocked},
	{"IMAP_MAILBOX_NONEXISTENT", CommandNonexistent},
	{"IMAP_MAILBOX_MOVED", CommandMoved},
	{"IMAP_SYNC_CHANGED", CommandChanged},
	{"IMAP_PROTOCOL_BAD_PARAMETERS", CommandBadParameters},
	{"IMAP_PROTOCOL_ERROR", CommandProtocolError},
}

// resultOf returns the result that a status line states.
func resultOf(line string) string {
	word, text, _ := strings.Cut(line, " ")
	switch word {
	case "OK":
		return CommandOK
	case "BAD":
		return CommandBad
	case "NO":
		for _, t := range tokens {
			if strings.HasPrefix(text, t.token) {
				return t.result
			}
		}
		return CommandNo
	}
	return CommandLost // nothing was answered
}
