package replication

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// request is a word that may follow GET or APPLY.
type request struct {
	policy failurePolicy
	// run reads the argument including the line end, and executes the request. After an
	// error the rest of the command is still unread.
	run func(c *conn, ctx context.Context) error
	// begins: after its answer the client defers everything up to RESTART together.
	begins bool
}

// action is a request whose argument has been read.
type action struct {
	subject string // whom the request is about, for logs and for slowdown
	do      func(ctx context.Context, c *conn, s Session) error
}

// whole returns a run function for a request whose argument is read into memory (within
// Limits) before it is executed. parse must not keep v's slices beyond do.
func whole(parse func(v dlist.Value) (action, error)) func(*conn, context.Context) error {
	return func(c *conn, ctx context.Context) error {
		v, err := c.dec.Value()
		if err != nil {
			return err
		}
		if err := c.end(); err != nil {
			return err
		}
		a, err := parse(v)
		if err != nil {
			return badParameters(err)
		}
		c.subject = a.subject
		s, err := c.open(ctx)
		if err != nil {
			return err
		}
		return fromSession(a.do(ctx, c, s))
	}
}

// badParameters makes sure that an error in an argument is answered as such.
func badParameters(err error) error {
	if _, ok := refusal(err); ok {
		return err
	}
	return errors.Join(cyrus.ErrBadParameters, err)
}

// errExtraArgs means that something other than a line end followed a dlist.
var errExtraArgs = errors.New("unexpected extra arguments")

// end reads the line end of a GET or APPLY.
func (c *conn) end() error {
	err := c.dec.End()
	var syntax *dlist.SyntaxError
	if errors.As(err, &syntax) {
		return errors.Join(errExtraArgs, err)
	}
	return err
}

// dispatch reads the name of a request and runs it from table. The name is
// case-insensitive: sync_server folds case for both verbs, backupd for GET only.
func (c *conn) dispatch(ctx context.Context, verb string, table map[string]request) error {
	b, err := c.in.Peek(1)
	if err != nil {
		return lost(err)
	}
	if b[0] != ' ' && b[0] != '\t' {
		return c.refuseLine("BAD Missing required argument to " + verb)
	}
	key, err := c.dec.Key()
	if err != nil {
		return c.answer(ctx, strings.ToUpper(verb), promotable, err)
	}
	key = strings.ToUpper(key)
	what := strings.ToUpper(verb) + " " + key
	r, ok := table[key]
	if !ok {
		c.log().Warn("unknown request", "command", printable(what))
		// Distinguish a value that cannot be parsed from an unknown request.
		if err := c.skipArgument(); err != nil {
			return c.answer(ctx, strings.ToUpper(verb), promotable, err)
		}
		return c.refuse(ctx, printable(what), "NO IMAP_PROTOCOL_ERROR Protocol error")
	}
	c.running = what
	err = r.run(c, ctx)
	if err == nil && r.begins {
		c.within = true
	}
	if errors.Is(err, errExtraArgs) {
		return c.refuseLine("BAD Unexpected extra arguments to " + verb)
	}
	return c.answer(ctx, what, r.policy, err)
}

// skipArgument skips a value and the line end.
func (c *conn) skipArgument() error {
	if err := c.dec.Skip(); err != nil {
		return err
	}
	return c.dec.End()
}

// name parses an argument that is one non-empty string.
func name(key string, v dlist.Value) (string, error) {
	s, err := v.Scalar(key)
	if err == nil && s == "" {
		err = &dlist.FieldError{Key: key, Msg: "is empty"}
	}
	if err == nil {
		err = checkName(key, s)
	}
	return s, err
}

// checkName refuses a name that cannot exist. The server keeps names of backups in memory.
func checkName(key, s string) error {
	if len(s) <= cyrus.MaxName {
		return nil
	}
	return &dlist.FieldError{Key: key, Msg: fmt.Sprintf("is a name of %d bytes, and may have %d", len(s), cyrus.MaxName)}
}

// names parses an argument that is a list of strings.
func names(key string, v dlist.Value) ([]string, error) {
	if v.Kind != dlist.List {
		return nil, &dlist.FieldError{Key: key, Msg: "want a list, have a " + v.Kind.String()}
	}
	out := make([]string, 0, len(v.Items))
	for _, it := range v.Items {
		s, err := it.Scalar(key)
		if err == nil {
			err = checkName(key, s)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}
