package maintenance

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/internal/inorder"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/packing"
)

// unit is a run of commits that becomes a segment, or that a segment already has.
type unit struct {
	job      *Merged
	from, to uint64        // of the segment
	exists   bool          // the segment was put by an earlier run
	won      bool          // this run has put it
	at       time.Time     // store time when it was put
	proven   objstore.Info // the segment that was read back; without a Key = unknown
	commits  []*history.WholeCommit
	infos    []objstore.Info // of their objects
	bodies   map[uint64]map[history.ChunkID]packing.Placed
	bytes    int
	day      time.Time
}

// mergeable is a single commit that is old enough.
type mergeable struct {
	number uint64
	info   objstore.Info
	in     span // a segment that has the commit, or zero
}

type span struct{ from, to uint64 }

// collect reads the commits that can be merged, in order, and makes units of them.
// listed is the store that lists the log.
func (m *Merger) collect(ctx context.Context, job *Merged, listed objstore.Store, newest uint64) error {
	var failed error // of the list
	list := func(yield func(mergeable) bool) {
		for c, err := range m.mergeable(ctx, job, listed, newest) {
			if failed = err; err != nil || !yield(c) {
				return
			}
		}
	}
	read := func(ctx context.Context, _ <-chan struct{}, c mergeable) readCommit {
		if !m.reads(c) {
			return readCommit{mergeable: c, large: true}
		}
		whole, err := history.ReadWhole(ctx, m.p.Store, job.Found.Path, c.number, mostWhole)
		if errors.Is(err, history.ErrTooLarge) {
			return readCommit{mergeable: c, large: true}
		}
		return readCommit{mergeable: c, whole: whole, err: err}
	}
	limit := inorder.Limit[mergeable]{Count: readAhead, Weight: 4 * largestMerged, Of: m.weight}
	var now *unit
	times := history.Times{}
	for c := range inorder.Map(ctx, limit, list, read) {
		if c.err != nil {
			return c.err // commits that wait are not merged either
		}
		if c.large {
			if err := m.end(ctx, now); err != nil {
				return err
			}
			now = nil
			continue
		}
		day := times.Next(c.whole.Header).UTC().Truncate(24 * time.Hour)
		if now != nil && !now.takes(c, day) {
			if err := m.end(ctx, now); err != nil {
				return err
			}
			now = nil
		}
		if now == nil {
			now = newUnit(job, c, day)
		}
		if err := m.append(ctx, now, c); err != nil {
			return err
		}
	}
	if failed != nil {
		return failed
	}
	return m.end(ctx, now)
}

// reads reports whether a commit is merged as far as its size is concerned. A large commit that a segment has came with a
// delayed request, after an erasure has merged it.
func (m *Merger) reads(c mergeable) bool {
	return c.info.Size <= largestMerged || c.in.to > 0 || m.o.Large != nil && m.o.Large(c.number)
}

// weight is about the memory that a commit takes.
func (m *Merger) weight(c mergeable) int64 {
	if m.reads(c) {
		return c.info.Size
	}
	return 0
}

// readCommit is a commit that was read, or not because it is large.
type readCommit struct {
	mergeable
	whole *history.WholeCommit
	large bool
	err   error
}

// mergeable yields the single commits that are old enough, in ascending order. It stops at
// the first that is younger, because removal is in ascending order.
func (m *Merger) mergeable(ctx context.Context, job *Merged, listed objstore.Store, newest uint64) iter.Seq2[mergeable, error] {
	return func(yield func(mergeable, error) bool) {
		backup := job.Found.Path
		var in span
		for info, err := range listed.List(ctx, history.LogPrefix(backup), "") {
			if err != nil {
				yield(mergeable{}, err)
				return
			}
			from, to, ok := history.ParseLogKey(backup, info.Key)
			switch {
			case !ok:
				continue
			case info.Key != history.LogKey(backup, from):
				if to > in.to {
					in = span{from, to}
				}
				continue
			case from >= newest || !info.Modified.Before(m.o.Before) || info.Modified.IsZero():
				return
			}
			c := mergeable{number: from, info: info}
			if in.from <= from && from <= in.to {
				c.in = in
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

func newUnit(job *Merged, c readCommit, day time.Time) *unit {
	u := &unit{job: job, from: c.number, to: c.number, day: day, bodies: map[uint64]map[history.ChunkID]packing.Placed{}}
	if c.in.to > 0 {
		u.from, u.to, u.exists = c.in.from, c.in.to, true
	}
	return u
}

// takes reports whether a commit belongs to the same segment.
func (u *unit) takes(c readCommit, day time.Time) bool {
	if u.exists {
		return c.in == span{u.from, u.to} && u.bytes < batchBytes
	}
	return c.in.to == 0 && c.number == u.to+1 && day.Equal(u.day) && u.bytes+c.whole.Size() <= segmentSize
}

// append adds a commit to the unit, and its bodies to the pack.
func (m *Merger) append(ctx context.Context, u *unit, c readCommit) error {
	if !u.exists {
		u.to = c.number
		at := map[history.ChunkID]packing.Placed{}
		for _, b := range c.whole.Bodies {
			if _, is := m.erased(c.number, b.Chunk); is {
				continue
			}
			p, err := m.packs.Add(ctx, b, c.whole.Private[b.Chunk])
			if err != nil {
				return err
			}
			at[b.Chunk] = p
		}
		if len(at) > 0 {
			u.bodies[c.number] = at
		}
	}
	c.whole.DropBodies()
	u.commits, u.infos = append(u.commits, c.whole), append(u.infos, c.info)
	u.bytes += c.whole.Size()
	return nil
}

// end adds a complete unit to those that wait, and merges them if there are many.
func (m *Merger) end(ctx context.Context, u *unit) error {
	if u == nil {
		return nil
	}
	m.units = append(m.units, u)
	m.waiting += u.bytes
	if m.waiting < batchBytes && len(m.units) < batchUnits {
		return nil
	}
	return m.Flush(ctx)
}
