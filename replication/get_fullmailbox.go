package replication

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// getFullMailbox is GET FULLMAILBOX name: the mailbox with its records. It comes
// when the client has cleaned up more expunged messages than we have heard of,
// and a wrong answer makes the client change its mailbox (client-behaviour.md
// 1e). So what cannot be answered whole is not answered: an error of a record
// comes after half the line has gone out, and closes the connection.
func getFullMailbox(v dlist.Value) (action, error) {
	mailbox, err := name("FULLMAILBOX", v)
	return action{mailbox, func(ctx context.Context, c *conn, s Session) error {
		fields, records, err := s.GetFullMailbox(ctx, mailbox)
		if err != nil {
			return err
		}
		line := append(c.scratch[:0], "* MAILBOX %("...)
		for _, p := range fields {
			line = dlist.AppendPair(line, p, false)
			line = append(line, ' ')
		}
		line = append(line, "RECORD ("...)
		n := 0
		for r, err := range records {
			if err != nil {
				return fmt.Errorf("record %d of %s: %w: %w", n+1, mailbox, cyrus.ErrClose, err)
			}
			if n++; n > 1 {
				line = append(line, ' ')
			}
			line = r.AppendWire(line, false)
			if err := c.write(line); err != nil {
				return err
			}
			line = line[:0]
		}
		line = append(line, "))\r\n"...)
		c.scratch = line
		return c.write(line)
	}}, err
}
