package cyrus

import (
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// Equal reports whether all fields of two records are the same, flags and annotations in the
// same order.
func (r *Record) Equal(o *Record) bool {
	return r.UID == o.UID && r.ModSeq == o.ModSeq && r.LastUpdated == o.LastUpdated &&
		r.InternalDate == o.InternalDate && r.Size == o.Size && r.GUID == o.GUID &&
		slices.Equal(r.Flags, o.Flags) &&
		slices.EqualFunc(r.Annotations, o.Annotations, Annotation.equal) &&
		slices.EqualFunc(r.Extra, o.Extra, dlist.Pair.Equal)
}

func (a Annotation) equal(o Annotation) bool {
	if (a.Value == nil) != (o.Value == nil) || a.Value != nil && *a.Value != *o.Value {
		return false
	}
	return a.Entry == o.Entry && a.UserID == o.UserID && a.ModSeq == o.ModSeq && slices.EqualFunc(a.Extra, o.Extra, dlist.Pair.Equal)
}
