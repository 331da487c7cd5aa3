package history

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/cyrusbackup/backupd/objstore"
)

// ResolvePlace returns the current place of an entry whose object p.Object is missing. The
// rewrite of a pack leaves a note in moved/. A commit may have been merged into a segment,
// whose places have the new locations of its bodies. If retention has removed the commit, the
// oldest checkpoint after it has them. For a pack, one lookup is
// enough, because another move updates the note under the first name. But the pack that a segment or
// checkpoint names may have been rewritten in turn. The error is ErrNoPlace if the place is unknown.
func ResolvePlace(ctx context.Context, s objstore.Store, p Place) (Place, error) {
	return (&resolver{store: s}).resolve(ctx, p)
}

// resolvedObjects is how many notes and segments a resolver caches.
const resolvedObjects = 8

// resolver implements ResolvePlace with a cache, so that the note about a pack is read
// once for all its messages.
type resolver struct {
	store objstore.Store

	mu     sync.Mutex
	moved  map[string]*Moved            // by key of the pack
	merged map[string]map[ChunkID]Place // by key of the segment
	lists  map[string]*contents         // by backup
	kept   *Mem                         // the checkpoint that was used last
}

func (r *resolver) resolve(ctx context.Context, p Place) (Place, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := MovedKey(p.Object); ok {
		return r.fromMoved(ctx, p)
	}
	if backup, n, ok := parseAnyLogKey(p.Object); ok {
		return r.fromSegment(ctx, p, backup, n)
	}
	return Place{}, noPlace(p)
}

func (r *resolver) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moved, r.merged, r.lists = nil, nil, nil
	r.forgetKept()
}

// forgetMoved drops the note about a pack from the cache.
func (r *resolver) forgetMoved(pack string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.moved, pack)
}

func noPlace(p Place) error {
	return fmt.Errorf("chunk %s: %w: %s is missing", p.Chunk, ErrNoPlace, p.Object)
}

func (r *resolver) fromMoved(ctx context.Context, p Place) (Place, error) {
	m, ok := r.moved[p.Object]
	if !ok {
		var err error
		m, _, err = ReadMoved(ctx, r.store, p.Object)
		if errors.Is(err, objstore.ErrNotExist) {
			return Place{}, noPlace(p)
		}
		if err != nil {
			return Place{}, err
		}
		r.moved = remember(r.moved, p.Object, m)
	}
	object, ok := m.Entries[p.Entry]
	if len(m.Entries) == 0 {
		return Place{}, fmt.Errorf("chunk %s: %w: %s was removed because no moment that is kept needs it", p.Chunk, ErrNoPlace, p.Object)
	}
	if !ok {
		return Place{}, fmt.Errorf("chunk %s: %w: entry %s was dropped when %s was rewritten", p.Chunk, ErrNoPlace, p.Entry, p.Object)
	}
	n := Place{Chunk: p.Chunk, Object: object, Entry: p.Entry}
	key, _ := MovedKey(p.Object)
	return n, inObject(key, n.check())
}

func remember[V any](m map[string]V, key string, v V) map[string]V {
	if m == nil || len(m) >= resolvedObjects {
		m = make(map[string]V)
	}
	m[key] = v
	return m
}

// parseAnyLogKey returns backup and first number from the key of a commit or segment.
func parseAnyLogKey(key string) (backup string, n uint64, ok bool) {
	i := strings.LastIndex(key, "/log/")
	backup, found := strings.CutPrefix(key[:max(i, 0)], "backups/")
	if !found {
		return "", 0, false
	}
	n, _, ok = ParseLogKey(backup, key)
	return backup, n, ok
}

// fromSegment looks for the chunk in the segment that now contains commit n.
func (r *resolver) fromSegment(ctx context.Context, p Place, backup string, n uint64) (Place, error) {
	list, ok := r.lists[backup]
	if !ok || !list.merged(n) && list.next(1) <= n {
		var err error
		if list, err = (&Log{Store: r.store, Backup: backup}).list(ctx, 0); err != nil {
			return Place{}, err
		}
		r.lists = remember(r.lists, backup, list)
	}
	seg, ok := list.segment(n)
	if first := list.next(1); !ok && first > n {
		return r.fromKept(ctx, p, backup, n, first)
	}
	if !ok || SegmentKey(backup, seg.from, seg.to) == p.Object {
		return Place{}, noPlace(p)
	}
	key := SegmentKey(backup, seg.from, seg.to)
	places, ok := r.merged[key]
	if !ok {
		places = make(map[ChunkID]Place)
		for c, err := range readSegment(ctx, r.store, backup, seg.from, seg.to, seg.from) {
			if err != nil {
				return Place{}, err
			}
			for now, err := range c.Places() {
				if err != nil {
					return Place{}, err
				}
				places[now.Chunk] = now
			}
		}
		r.merged = remember(r.merged, key, places)
	}
	now, ok := places[p.Chunk]
	if !ok {
		return Place{}, fmt.Errorf("chunk %s: %w: %s does not have it", p.Chunk, ErrNoPlace, key)
	}
	return now, nil
}
