package replication

import "context"

// noop is NOOP: the client asks whether the connection still works.
func (c *conn) noop(_ context.Context, verb string) error {
	if done, err := c.endOfLine(verb); !done {
		return err
	}
	return c.reply("OK Noop completed")
}
