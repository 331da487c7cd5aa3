package replication

import "context"

// exit is EXIT. The Session is closed after the answer. The client reads one line and
// ignores it (client-behaviour.md 9h).
func (c *conn) exit(_ context.Context, verb string) error {
	if done, err := c.endOfLine(verb); !done {
		return err
	}
	if err := c.reply("OK Finished"); err != nil {
		return err
	}
	return errExit
}
