package repository

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// OpenTip is Tip, and returns ErrSealed if the log continues in another repository.
func (f *Found) OpenTip(ctx context.Context, known uint64) (history.Tip, error) {
	tip, seal, err := f.Tip(ctx, known)
	if err != nil || seal == nil {
		return tip, err
	}
	repo, err := ReadInfo(ctx, f.Partition.Store)
	if err == nil && seal.To != repo.ID {
		err = fmt.Errorf("backup of %s: %w", f.Name(), ErrSealed)
	}
	return tip, err
}

// Tip returns the newest commit, and the seal in it or nil. known is a commit number that
// is in use, or 0; the search begins there.
func (f *Found) Tip(ctx context.Context, known uint64) (tip history.Tip, seal *history.SealedEvent, err error) {
	tip, _, seal, err = f.TipHeader(ctx, known)
	return tip, seal, err
}

// TipHeader is Tip, and also returns the header of the newest commit; zero = it cannot be read.
func (f *Found) TipHeader(ctx context.Context, known uint64) (tip history.Tip, h history.Header, seal *history.SealedEvent, err error) {
	log := f.Log()
	newest, err := log.Newest(ctx, known)
	if err != nil || newest == 0 {
		return history.Tip{}, h, nil, err
	}
	tip.Number = newest
	for c, err := range log.Commits(ctx, newest, newest) {
		if history.IsUnreadable(err) {
			return tip, h, nil, nil // without its hash, as after a bridge
		}
		if err != nil {
			return tip, h, nil, err
		}
		for e, err := range c.Events() {
			if err != nil {
				return tip, h, nil, err
			}
			if e, ok := e.(*history.SealedEvent); ok {
				seal = e
			}
		}
		h = c.Header()
		tip.Time = h.Time
		if tip.Hash, err = c.Hash(); err != nil {
			return tip, h, nil, err
		}
	}
	return tip, h, seal, nil
}

// HighestNumber returns the highest number of any commit or checkpoint, readable or not, except for
// checkpoints that the log contradicts.
func (f *Found) HighestNumber(ctx context.Context) (uint64, error) { return f.Log().NewestNumber(ctx) }
