package history

import (
	"context"
	"slices"
	"strings"
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
	r.forgetKept() // retention may have removed that checkpoint, too
	numbers, err := (&Log{Store: r.store, Backup: backup}).Checkpoints(ctx)
	if err != nil {
		return Place{}, err
	}
	for _, at := range slices.Backward(numbers) {
		if at+1 < first {
			continue
		}
		// The request that comes first does not limit the others.
		if r.kept, err = ReadCheckpoint(context.WithoutCancel(ctx), r.store, backup, at); err != nil {
			return Place{}, err
		}
		return r.inKept(p)
	}
	return Place{}, noPlace(p)
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
