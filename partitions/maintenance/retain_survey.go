package maintenance

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// smallLog is the largest size of a single commit that is not worth another one to record its
// removal. A backup that has ended would otherwise get commits for ever.
const smallLog = 16 << 10

// survey reads the log from the base on. It finds the cut: the newest commit that can be removed
// with all before it. Every moment after the cut stays in the log. It returns the last commits of
// the days up to the cut.
func (r *retainer) survey(ctx context.Context) (ends []history.Kept, err error) {
	allowed := r.have.cuts(r.now.Add(-r.o.LogMinAge), r.forget)
	if len(allowed) == 0 || allowed[len(allowed)-1] <= r.base {
		return nil, nil
	}
	m, err := history.Resume(ctx, r.store, r.f.Path, r.base, r.now)
	if err != nil {
		return nil, err
	}
	times, tip := m.Times(), m.Tip()
	if err := m.Close(); err != nil {
		return nil, err
	}
	var last history.Kept
	for c, err := range r.log().CommitsAfter(ctx, tip, allowed[len(allowed)-1]) {
		if err != nil {
			return nil, err
		}
		at := times.Next(c.Header())
		if at.IsZero() || !at.Before(r.limit) {
			break
		}
		inline, err := r.inline(ctx, c)
		if err != nil {
			return nil, err
		}
		if inline {
			break // the next compaction packs the bodies
		}
		if last.Number > 0 && !sameDay(last.Time, at) {
			ends = append(ends, last)
		}
		last = history.Kept{Number: c.Header().Number, Time: at}
		if _, ok := slices.BinarySearch(allowed, last.Number); ok {
			r.cut = last
		}
	}
	if !r.forget && r.cut.Number > 0 && r.cut.Number-r.base < 2 && r.have.upTo(r.cut.Number).Bytes <= smallLog {
		prunes, err := r.prunes(ctx)
		if err != nil {
			return nil, err
		}
		if !prunes {
			r.cut = history.Kept{}
		}
	}
	r.done.Cut = r.cut
	return slices.DeleteFunc(ends, func(k history.Kept) bool { return k.Number >= r.cut.Number }), nil
}

// fewCommits is the size of the log of a backup that has ended.
const fewCommits = 8

// prunes reports whether the log after the base drops content. The checkpoint before the log has that
// content until a later one replaces it. A log that goes on is cut later anyway.
func (r *retainer) prunes(ctx context.Context) (bool, error) {
	first := r.have.log[0].from
	if r.have.newest-first >= fewCommits {
		return false, nil
	}
	for c, err := range r.log().Commits(ctx, first, r.have.newest) {
		if err != nil {
			return false, err
		}
		for e, err := range c.Events() {
			if err != nil {
				return false, err
			}
			if _, ok := e.(*history.PruneEvent); ok {
				return true, nil
			}
		}
	}
	return false, nil
}

func (r *retainer) log() *history.Log { return &history.Log{Store: r.store, Backup: r.f.Path} }

func sameDay(a, b time.Time) bool {
	return a.UTC().Truncate(24 * time.Hour).Equal(b.UTC().Truncate(24 * time.Hour))
}

// inline reports whether the commit names a body that only the log has, until compaction packs it.
func (r *retainer) inline(ctx context.Context, c *history.CommitReader) (bool, error) {
	for p, err := range c.LogPlaces() {
		if err == nil {
			_, err = r.packed(ctx, p)
		}
		if errors.Is(err, errInline) {
			if _, large := r.tooLargeToMerge(p); !large {
				return true, nil
			}
			err = nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}
