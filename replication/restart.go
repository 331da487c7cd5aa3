package replication

import "context"

// restart is RESTART: the unit of work ends. It needs no login (backup/backupd.c, cmdloop)
// and is never refused: a client that is refused here can lose log entries of another user
// (client-behaviour.md 9d).
func (c *conn) restart(ctx context.Context, verb string) error {
	if done, err := c.endOfLine(verb); !done {
		return err
	}
	c.within = false
	if c.session != nil {
		c.session.Restart(ctx)
	}
	return c.reply("OK Restarting")
}
