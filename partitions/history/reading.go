package history

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// reading is one Load. It reads the log in one go, and where that meets damage once more,
// commit by commit, so that it can skip what cannot be read.
type reading struct {
	ctx context.Context
	log *Log
	at  Moment
	bad []Damage // checkpoints that were skipped

	applied int // commits
}

// Damage is an object that cannot be read.
type Damage struct {
	Object string // key
	Err    error
}

func (r *reading) load() (*Mem, error) {
	m, err := r.read(r.inOneGo)
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

// read makes the state from a checkpoint, and from the log by way of follow.
func (r *reading) read(follow func(*Mem, *contents, uint64) error) (*Mem, error) {
	r.bad, r.applied = nil, 0
	m, err := r.base()
	if err != nil {
		return nil, err
	}
	if err := r.continueFrom(m, follow); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// base is the newest readable checkpoint at or before the moment, or the state before the
// first commit.
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

// settleTimes finds out when the commit of a checkpoint was made, which says only what
// the store said then. A time that is yet to come must not hide what lies before it.
func (r *reading) settleTimes(m *Mem) error {
	m.times.Now = r.at.Now
	if !m.times.ahead(m.tip.Time) {
		return nil
	}
	h, err := r.log.header(r.ctx, m.tip.Number)
	if IsUnreadable(err) {
		return nil // it is skipped where the moment is a time
	}
	if err == nil {
		m.times.at = time.Time{}
		m.times.Next(h)
	}
	return err
}

// past says whether a commit was made after the moment, if that is a time.
func (r *reading) past(m *Mem) func(Header) bool {
	return func(h Header) bool { return r.at.byTime() && m.times.Peek(h).After(r.at.Time) }
}

func (r *reading) continueFrom(m *Mem, follow func(*Mem, *contents, uint64) error) error {
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
	if err := follow(m, have, to); err != nil {
		return err
	}
	if base == 0 && r.applied == 0 && (len(m.gaps) == 0 || !r.newest()) {
		return ErrBeforeFirst
	}
	return nil
}

// newest says that the moment is the newest commit.
func (r *reading) newest() bool { return r.at.Number == 0 && r.at.Time.IsZero() }

// listFrom lists the log from the commit after which it is read, and all of it where a
// segment holds the next one.
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

// inOneGo applies the commits up to a number; whatever is wrong with one ends it.
func (r *reading) inOneGo(m *Mem, have *contents, to uint64) error {
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

// oneByOne applies the commits that can be read, and notes the others as gaps.
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
			if err := r.apply(m, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// apply applies a commit that check has found readable. One that does not continue the
// commit before it is applied and noted: either can be the wrong one.
func (r *reading) apply(m *Mem, n uint64) error {
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
