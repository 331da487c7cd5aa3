package maintenance

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// prove reads the segment from the store. It has to contain each commit of the unit with the
// same bytes, and a place for each of their chunks. Bodies that were in the commits have to be
// readable at these places.
func (m *Merger) prove(ctx context.Context, u *unit) error {
	w, seen := watch(m.p.Store, history.SegmentKey(u.job.Found.Path, u.from, u.to))
	left := map[uint64]*history.WholeCommit{}
	for _, c := range u.commits {
		left[c.Header.Number] = c
	}
	for r, err := range history.ReadSegment(ctx, w, u.job.Found.Path, u.from, u.to) {
		if err != nil {
			return err
		}
		places, err := placesOf(r, seen)
		if err != nil {
			return err
		}
		c, ok := left[r.Header().Number]
		if !ok {
			continue
		}
		hash, err := r.Hash()
		if err == nil && hash != c.Hash {
			err = fmt.Errorf("%w: it has another commit %d", history.ErrCorrupt, c.Header.Number)
		}
		if err == nil {
			err = m.provePlaces(ctx, u, c, places)
		}
		if err != nil {
			return err
		}
		delete(left, c.Header.Number)
	}
	if len(left) > 0 {
		return fmt.Errorf("%w: it lacks commits, the first is %d", history.ErrCorrupt, slices.Min(slices.Collect(maps.Keys(left))))
	}
	if w.add(u.job, seen) {
		u.proven = seen.Info
	}
	return nil
}

// placesOf returns the places of a commit in a segment.
func placesOf(r *history.CommitReader, seen *Seen) (map[history.ChunkID][]history.Place, error) {
	now := map[history.ChunkID][]history.Place{}
	for p, err := range r.Places() {
		if err != nil {
			return nil, err
		}
		now[p.Chunk] = append(now[p.Chunk], p)
		seen.add(p)
	}
	return now, nil
}

// provePlaces compares the places of a commit in the segment with those in its own object.
func (m *Merger) provePlaces(ctx context.Context, u *unit, c *history.WholeCommit, now map[history.ChunkID][]history.Place) error {
	for _, p := range c.Places {
		if len(now[p.Chunk]) == 0 {
			return fmt.Errorf("%w: commit %d lacks the place of chunk %s", history.ErrCorrupt, c.Header.Number, p.Chunk)
		}
	}
	for _, b := range c.Bodies {
		if err := m.proveBody(ctx, u, c.Header.Number, b, now[b.Chunk]); err != nil {
			return err
		}
	}
	return nil
}

// proveBody checks that a body can be read outside of the log. A pack that this run has put
// was read back already.
func (m *Merger) proveBody(ctx context.Context, u *unit, n uint64, b history.InlineBody, places []history.Place) error {
	at, ours := u.bodies[n][b.Chunk]
	err := fmt.Errorf("%w: the body of chunk %s is in no pack", history.ErrCorrupt, b.Chunk)
	for _, p := range places {
		if p.Erased() {
			return nil
		}
		if _, ok := history.MovedKey(p.Object); !ok {
			continue // in the log
		}
		if ours && p.Object == at.Pack.Key && p.Entry == at.Entry {
			return nil
		}
		if err = history.CheckChunk(ctx, m.objects, p); err == nil {
			return nil
		}
	}
	return err
}
