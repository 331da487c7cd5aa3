package maintenance

import (
	"context"
	"errors"
	"strings"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/packing"
)

// errInline reports a body that is not in a pack.
var errInline = errors.New("the body is in the log")

// packed returns the place of a chunk in a pack: the log object that the place may name is to be
// removed.
func (r *retainer) packed(ctx context.Context, p history.Place) (history.Place, error) {
	if strings.HasPrefix(p.Object, "packs/") || p.Erased() {
		return p, nil
	}
	now, err := r.objects.Resolve(ctx, p)
	if err == nil && now.Erased() {
		return now, nil
	}
	if errors.Is(err, history.ErrNoPlace) || err == nil && !strings.HasPrefix(now.Object, "packs/") {
		return p, errInline
	}
	return now, err
}

// repacked is packed, and puts the bodies of a large commit into a pack.
func (r *retainer) repacked(ctx context.Context, p history.Place) (history.Place, error) {
	now, err := r.packed(ctx, p)
	n, large := r.tooLargeToMerge(p)
	if !errors.Is(err, errInline) || !large {
		return now, err
	}
	if r.bodies.number != n {
		if r.bodies, err = r.packBodies(ctx, n); err != nil {
			return p, err
		}
	}
	at, ok := r.bodies.places[p.Chunk]
	if !ok || at.Entry != p.Entry {
		return p, errInline
	}
	p.Object = at.Pack.Key
	return p, nil
}

// tooLargeToMerge reports whether a place is in a commit that compaction does not merge, so that its
// bodies would stay inline for ever.
func (r *retainer) tooLargeToMerge(p history.Place) (n uint64, large bool) {
	n, _, ok := history.ParseLogKey(r.f.Path, p.Object)
	if !ok || p.Object != history.LogKey(r.f.Path, n) {
		return 0, false
	}
	for _, o := range r.have.log {
		if o.from == n && !o.segment {
			return n, o.size > largestMerged
		}
	}
	return n, false
}

// packedBodies are the bodies of a commit in new packs.
type packedBodies struct {
	number uint64
	places map[history.ChunkID]packing.Placed
}

func (r *retainer) packBodies(ctx context.Context, n uint64) (packedBodies, error) {
	out := packedBodies{n, map[history.ChunkID]packing.Placed{}}
	whole, err := history.ReadWhole(ctx, r.store, r.f.Path, n, mostWhole)
	if err != nil {
		return out, err
	}
	p := packing.New(r.store, mostWhole, r.o.Pack)
	p.Announce(r.packing)
	for _, b := range whole.Bodies {
		if out.places[b.Chunk], err = p.Add(ctx, b, whole.Private[b.Chunk]); err != nil {
			return out, err
		}
	}
	return out, p.Flush(ctx)
}
