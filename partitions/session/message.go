package session

import (
	"context"
	"io"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// MessageUnreadable records that the client could not read the file of a message.
func (x *Session) MessageUnreadable(context.Context) error {
	x.unreadable++
	return nil
}

// Message stages one message for the partition of the backup that was opened last.
func (x *Session) Message(ctx context.Context, _ string, guid cyrus.GUID, size int64, body io.Reader) (err error) {
	x.begin()
	defer x.end(&err)
	x.body.r = body
	defer func() { x.body.r = nil }()
	if err := x.limited(); err != nil {
		return err
	}
	return x.stage.Add(x.set.Brief(ctx), x.last, x.alone(), guid, size, &x.body)
}
