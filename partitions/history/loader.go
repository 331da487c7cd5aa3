package history

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// reading is one Load. It first reads the log in one pass. If that finds damage, it starts
// again and reads commit by commit, so that it can skip unreadable commits.
type reading struct {
	ctx context.Context
	log *Log
	at  Moment
	bad []Damage // skipped checkpoints

	applied int // number of commits
}

// Damage is an object that cannot be read.
type Damage struct {
	Object string // key
	Err    error
}

func (r *reading) load() (*Mem, error) {
	m, err := r.read(r.inOnePass)
	if IsUnreadable(err) && !errors.Is(err, ErrBeforeFirst) {
		m, err = r.read(r.oneByOne)
	}
	if err != nil {
		return nil, err
	}
	m.skipped = r.bad
	if gaps := m.unbridged(); len(gaps) > 0 && !r.at.Tolerant {
		err := gaps[0].Err
		if gaps[0].From == 1 && !r.newest() {
			err = fmt.Errorf("%w that is kept: %w", ErrBeforeFirst, err)
		}
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// read makes the state from a checkpoint and the log. apply applies the commits.
func (r *reading) read(apply func(*Mem, *contents, uint64) error) (*Mem, error) {
	r.bad, r.applied = nil, 0
	m, err := r.base()
	if err != nil {
		return nil, err
	}
	if err := r.continueFrom(m, apply); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// base returns the newest readable checkpoint at or before the moment, or else the state
// before the first commit.
func (r *reading) base() (*Mem, error) {
	var numbers []uint64
	if !r.at.FromLog {
		var err error
		if numbers, err = r.log.Checkpoints(r.ctx); err != nil {
			return nil, err
		}
	}
	for _, n := range numbers {
		if r.at.Number > 0 && n > r.at.Number {
			continue
		}
		m, err := ReadCheckpoint(r.ctx, r.log.Store, r.log.Backup, n)
		if IsUnreadable(err) {
			r.bad = append(r.bad, Damage{CheckpointKey(r.log.Backup, n), err})
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := r.settleTimes(m); err != nil {
			return nil, errors.Join(err, m.Close())
		}
		if r.at.byTime() && (m.times.at.IsZero() || m.times.at.After(r.at.Time)) {
			if err := m.Close(); err != nil {
				return nil, err
			}
			continue
		}
		return m, nil
	}
	m, err := NewMem(r.ctx, r.log.Store, r.log.Backup)
	if err == nil {
		m.times.Now = r.at.Now
	}
	return m, err
}

// settleTimes finds out when the commit of a checkpoint was made. The checkpoint contains
// only the store time. If that is in the future, it must not hide earlier commits.
func (r *reading) settleTimes(m *Mem) error {
	m.times.Now = r.at.Now
	if !m.times.ahead(m.tip.Time) {
		return nil
	}
	h, err := r.log.header(r.ctx, m.tip.Number)
	if IsUnreadable(err) {
		return nil // base skips the checkpoint if the moment is a time
	}
	if err == nil {
		m.times.at = time.Time{}
		m.times.Next(h)
	}
	return err
}

// past returns a function that reports whether a commit was made after the moment, if
// the moment is a time.
func (r *reading) past(m *Mem) func(Header) bool {
	return func(h Header) bool { return r.at.byTime() && m.times.Peek(h).After(r.at.Time) }
}

// continueFrom applies the commits after the base.
func (r *reading) continueFrom(m *Mem, apply func(*Mem, *contents, uint64) error) error {
	base := m.tip.Number
	have, err := r.log.listFrom(r.ctx, base)
	if err != nil {
		return err
	}
	to := r.at.Number
	if to == 0 {
		to = have.newest
	}
	if to > max(have.newest, base) {
		return fmt.Errorf("commit %d of %s: %w: the log ends with %d", to, r.log.Backup, ErrAbsent, have.newest)
	}
	if r.at.Number == 0 && have.newest < base {
		m.gap(have.newest+1, base, r.log.absent(base))
	}
	if err := apply(m, have, to); err != nil {
		return err
	}
	if base == 0 && r.applied == 0 && (len(m.gaps) == 0 || !r.newest()) {
		return ErrBeforeFirst
	}
	return nil
}

// newest reports whether the moment is the newest commit.
func (r *reading) newest() bool { return r.at.Number == 0 && r.at.Time.IsZero() }

// listFrom lists the log after base. It lists the whole log if a segment contains the
// commit after base.
func (l *Log) listFrom(ctx context.Context, base uint64) (*contents, error) {
	have, err := l.list(ctx, max(base, 1)-1)
	if err != nil || base <= 1 {
		return have, err
	}
	if next := have.next(base + 1); next == base+1 || next == 0 && have.newest == base {
		return have, nil
	}
	return l.list(ctx, 0)
}

// inOnePass applies the commits up to a number. It stops at the first error.
func (r *reading) inOnePass(m *Mem, have *contents, to uint64) error {
	if first := have.next(1); m.tip.Number == 0 && first > 1 {
		return r.log.absent(1)
	}
	past := r.past(m)
	for c, err := range r.log.CommitsAfter(r.ctx, m.tip, to) {
		if err != nil {
			return err
		}
		if past(c.Header()) {
			return nil
		}
		if err := m.Apply(c); err != nil {
			return err
		}
		r.applied++
	}
	return nil
}

// oneByOne applies the readable commits, and records the others as gaps.
func (r *reading) oneByOne(m *Mem, have *contents, to uint64) error {
	for n := m.tip.Number + 1; n <= to; n = m.tip.Number + 1 {
		if next := have.next(n); next != n {
			end := to
			if next > 0 {
				end = min(to, next-1)
			}
			m.skip(n, end, r.log.absent(n))
			continue
		}
		past, err := r.log.check(r.ctx, n, r.past(m))
		switch {
		case IsUnreadable(err):
			m.skip(n, n, err)
		case err != nil:
			return err
		case past:
			return nil
		default:
			if err := r.applyOne(m, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// applyOne applies a commit that passed check. A commit that does not continue the
// previous one is applied and also recorded as a gap, since either can be the wrong one.
func (r *reading) applyOne(m *Mem, n uint64) error {
	for c, err := range r.log.Commits(r.ctx, n, n) {
		if err != nil {
			return err
		}
		if err := m.tip.follow(c); err != nil {
			m.gap(n, n, err)
			m.tip = Tip{Number: n - 1}
		}
		if err := m.Apply(c); err != nil {
			return err
		}
		r.applied++
	}
	return nil
}
