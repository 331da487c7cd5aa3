package csync

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

type annotationKey struct{ entry, userid string }

// annotationsOf returns the mailbox annotations among the fields of a mailbox.
func annotationsOf(fields []dlist.Pair) map[annotationKey]bool {
	out := map[annotationKey]bool{}
	list, err := (&cyrus.Mailbox{Fields: fields}).Annotations()
	if err != nil {
		return out
	}
	for _, a := range list {
		out[annotationKey{a.Entry, a.UserID}] = true
	}
	return out
}

// annotations sets the missing mailbox annotations.
func (w *work) annotations(ctx context.Context) error {
	list, err := w.ownAnnotations()
	if err != nil {
		return err
	}
	for _, a := range list {
		if a.Value == nil || w.annotated[annotationKey{a.Entry, a.UserID}] {
			continue
		}
		err := w.d.part(ctx, w.c, w.f.Name+": annotation "+a.Entry, func() error {
			return w.c.ApplyAnnotation(ctx, cyrus.MailboxAnnotation{Mailbox: w.f.Name, Entry: a.Entry, UserID: a.UserID, Value: a.Value})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// mergeAnnotations replaces the annotations of a head by those at the server plus the missing ones
// of the backup, because APPLY MAILBOX replaces all annotations.
func (w *work) mergeAnnotations(head *[]dlist.Pair) {
	var items []dlist.Value
	if v, ok := get(w.there.Fields, "ANNOTATIONS"); ok {
		items = append(items, v.Items...)
	}
	ours, err := w.ownAnnotations()
	if err == nil {
		for _, a := range ours {
			if !w.annotated[annotationKey{a.Entry, a.UserID}] {
				items = append(items, a.DList())
			}
		}
	}
	*head = without(*head, "ANNOTATIONS")
	if len(items) > 0 {
		*head = append(*head, dlist.P("ANNOTATIONS", dlist.L(items...)))
	}
}
