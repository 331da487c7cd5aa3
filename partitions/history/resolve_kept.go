package history

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
)

// fromKept looks for a chunk of commit n, which retention has removed. first is the first commit in
// the log. The checkpoint that retention leaves before it has every chunk that a state still needs,
// and names no object of the log.
func (r *resolver) fromKept(ctx context.Context, p Place, backup string, n, first uint64) (Place, error) {
	if r.kept != nil && r.kept.backup == backup && r.kept.tip.Number >= n {
		now, err := r.inKept(p)
		if !IsUnreadable(err) {
			return now, err
		}
	}
	for range loadTries {
		now, again, err := r.fromOldest(ctx, p, backup, first)
		if !again {
			return now, err
		}
	}
	return Place{}, noPlace(p)
}

// fromOldest looks for the chunk in the oldest readable checkpoint that is not before the log. again
// means that retention has removed that checkpoint since it was listed.
func (r *resolver) fromOldest(ctx context.Context, p Place, backup string, first uint64) (now Place, again bool, err error) {
	r.forgetKept()
	numbers, err := (&Log{Store: r.store, Backup: backup}).Checkpoints(ctx)
	if err != nil {
		return now, false, err
	}
	for _, at := range slices.Backward(numbers) {
		if at+1 < first {
			continue
		}
		// The request that comes first does not limit the others.
		m, err := ReadCheckpoint(context.WithoutCancel(ctx), r.store, backup, at)
		if err == nil {
			r.kept = m
			now, err = r.inKept(p)
		}
		gone := errors.Is(err, objstore.ErrNotExist)
		if gone || !IsUnreadable(err) || errors.Is(err, ErrNoPlace) {
			return now, gone, err
		}
		r.forgetKept()
	}
	return now, false, noPlace(p)
}

func (r *resolver) inKept(p Place) (Place, error) {
	places, err := r.kept.Places(p.Chunk)
	if err != nil {
		return Place{}, err
	}
	for _, now := range places {
		if !strings.HasPrefix(now.Object, LogPrefix(r.kept.backup)) {
			return now, nil
		}
	}
	return Place{}, noPlace(p)
}

// forgetKept closes the checkpoint. Nothing was changed in it, so there is no file whose errors
// matter.
func (r *resolver) forgetKept() {
	if r.kept != nil {
		_ = r.kept.Close()
	}
	r.kept = nil
}
