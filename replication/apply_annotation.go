package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// applyAnnotation is APPLY ANNOTATION: an annotation of a mailbox, or of the server if
// MBOXNAME is empty.
func applyAnnotation(v dlist.Value) (action, error) {
	a, err := cyrus.ParseMailboxAnnotation(v)
	return action{a.Mailbox, func(ctx context.Context, _ *conn, s Session) error {
		return s.ApplyAnnotation(ctx, a)
	}}, err
}

// applyUnannotation is APPLY UNANNOTATION.
func applyUnannotation(v dlist.Value) (action, error) {
	mailbox, entry, userid, err := cyrus.ParseUnannotation(v)
	return action{mailbox, func(ctx context.Context, _ *conn, s Session) error {
		return s.ApplyUnannotation(ctx, mailbox, entry, userid)
	}}, err
}
