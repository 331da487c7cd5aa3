package session

import (
	"context"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// Reserve returns the messages that the client must upload.
func (x *Session) Reserve(ctx context.Context, _ string, names []string, guids []cyrus.GUID) (missing []cyrus.GUID, err error) {
	defer x.enter()(&err)
	if err := x.limited(); err != nil {
		return nil, err
	}
	ctx = x.set.Brief(ctx)
	switch {
	case x.fenced: // a mailbox may refer to what any of these backups has
		names, _ = x.within(names)
	case len(names) > 0:
		names = names[:1]
	}
	for _, name := range slices.Backward(names) { // the answer is that of the partition of the first one
		x.leaveNameless()
		if _, _, err := x.open(ctx, x.set.NameOf(name)); err != nil {
			return nil, err
		}
	}
	return x.stage.Lacking(ctx, x.last, x.alone(), guids)
}
