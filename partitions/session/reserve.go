package session

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// Reserve returns the messages that the client must upload.
func (x *Session) Reserve(ctx context.Context, _ string, names []string, guids []cyrus.GUID) (missing []cyrus.GUID, err error) {
	defer x.enter()(&err)
	ctx = x.set.Brief(ctx)
	if len(names) > 0 {
		if _, _, err := x.open(ctx, x.set.NameOf(names[0])); err != nil {
			return nil, err
		}
	}
	return x.stage.Lacking(ctx, x.last, len(x.held) <= 1, guids)
}
