package replication

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// applyMessage is APPLY MESSAGE (%{partition guid size} … NIL …): up to 1024 files in one
// command. Each file goes to the Session as it arrives. NIL replaces a file that the client
// could not read (imap/dlist.c, printfile).
//
// After a failure the rest of the list is skipped and the command gets one answer. Messages
// staged before the failure stay staged, which is harmless.
func (c *conn) applyMessage(ctx context.Context) error {
	s, failed := c.open(ctx)
	var last cyrus.GUID
	err := c.dec.List(func() error {
		if failed != nil {
			return c.dec.Skip()
		}
		var err error
		failed, err = c.message(ctx, s, &last)
		return err
	})
	if err == nil {
		err = c.end()
	}
	if err == nil {
		err = failed
	}
	if err != nil && last != (cyrus.GUID{}) {
		c.subject = last.String()
	}
	return err
}

// message passes one member of the list to the Session. failed is the error to answer with
// after the list has been read; err ends the reading. last becomes the GUID of the message.
func (c *conn) message(ctx context.Context, s Session, last *cyrus.GUID) (failed, err error) {
	switch kind, err := c.dec.Peek(); {
	case err != nil:
		return nil, err
	case kind == dlist.Nil:
		if err := c.dec.Skip(); err != nil {
			return nil, err
		}
		return fromSession(s.MessageUnreadable(ctx)), nil
	case kind != dlist.File:
		return fmt.Errorf("MESSAGE: %w: want a file, have a %v", cyrus.ErrProtocol, kind), c.dec.Skip()
	}
	f, body, err := c.dec.File()
	if err != nil {
		return nil, err
	}
	*last = f.GUID
	err = c.hurryBody(func() error { return s.Message(ctx, f.Partition, f.GUID, int64(f.Size), body) })
	switch {
	case errors.Is(err, errTooSlow):
		return nil, err // the rest would not arrive either
	case err != nil:
		return fromSession(fmt.Errorf("message %s, %d bytes: %w", *last, f.Size, err)), nil
	}
	return nil, nil
}
