package repository

import (
	"context"
	"errors"
	"fmt"
)

// ErrHoldsGone reports that somebody has deleted holds.json. Our programs never do that while the backup
// is in its place: a release leaves the object without holds.
var ErrHoldsGone = errors.New("holds.json is gone since this host has seen it, and with it perhaps a hold: nothing is removed. Place the hold again with ctl_backups hold; if none is needed, place one and release it")

// CheckHoldsKept returns ErrHoldsGone if this host remembers that the backup has had a holds.json, and
// the backup has none now. Nothing in the bucket shows that: a hold must work when no commit can be put,
// so the log does not record it. It sends a request only if the list of BrowseKnown lacks the object,
// because a list can omit an object that is replaced meanwhile.
func (f *Found) CheckHoldsKept(ctx context.Context) error {
	if f.known == nil || !f.known.Held || f.ListedHolds() {
		return nil
	}
	_, info, err := f.readHolds(ctx)
	switch {
	case err != nil && IsStoreError(err):
		return err
	case err != nil || info.ETag != "": // unreadable, which counts as a hold
		return nil
	}
	return fmt.Errorf("%s: %w", f.Name(), ErrHoldsGone)
}
