package replication

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// getFullMailbox is GET FULLMAILBOX name: the mailbox with its records. The client sends it
// after it cleaned up more expunged messages than it has reported. A wrong answer makes the
// client change its mailbox (client-behaviour.md 1e), so an answer that cannot be completed
// is not completed: an error in a record occurs after half the line has been sent, and
// closes the connection.
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
