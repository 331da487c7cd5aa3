package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// loader does the work of Load. It first reads the log in one pass. If that finds damage,
// it starts again and reads commit by commit, so that it can skip unreadable commits.
type loader struct {
	ctx context.Context
	log *Log
	at  Moment
	bad []Damage // skipped checkpoints

	numbers []uint64 // of the checkpoints, newest first
	ignored []uint64 // checkpoints that the log contradicts
	doubt   bool     // something is damaged: ask whether the log contradicts the base
	after   uint64   // the base
	next    uint64   // the first commit after the base that the log has
	newest  uint64   // the last one
	applied int      // number of commits
}

// loadTries is how often a state is loaded while retention removes what it is made of.
const loadTries = 4

// Damage is an object that cannot be read.
type Damage struct {
	Object string // key
	Err    error
}

func (l *loader) load() (*Mem, error) {
	m, err := l.readable()
	for try := 1; try < loadTries; try++ {
		again, aerr := l.outdated(m, err)
		if !again && aerr == nil {
			break
		}
		if m != nil {
			aerr = errors.Join(aerr, m.Close())
		}
		if aerr != nil {
			return nil, aerr
		}
		m, err = l.readable()
	}
	if err != nil {
		return nil, err
	}
	m.skipped = l.bad
	if gaps := m.unbridged(); len(gaps) > 0 && !l.at.Tolerant {
		err := gaps[0].Err
		if m.copying != nil {
			err = fmt.Errorf("%w: %w", m.copying, err)
		}
		if gaps[0].From == 1 && !l.atEnd() {
			err = fmt.Errorf("%w that is kept: %w", ErrBeforeFirst, err)
		}
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// outdated reports whether something was missing that has been replaced since it was listed:
// retention puts a checkpoint before it removes the log up to it. A copy may have put the end of the log.
func (l *loader) outdated(m *Mem, err error) (bool, error) {
	missing := errors.Is(err, ErrAbsent) || errors.Is(err, ErrNotKept) || errors.Is(err, objstore.ErrNotExist)
	for _, b := range l.bad {
		missing = missing || errors.Is(b.Err, objstore.ErrNotExist)
	}
	if m != nil {
		for _, g := range m.unbridged() {
			missing = missing || errors.Is(g.Err, ErrAbsent) || errors.Is(g.Err, objstore.ErrNotExist)
		}
	}
	if !missing {
		return false, nil
	}
	numbers, err := l.log.Checkpoints(l.ctx)
	if err != nil {
		return false, err
	}
	have, err := l.log.list(l.ctx, 0)
	if err != nil {
		return false, err
	}
	return !slices.Equal(numbers, l.numbers) || have.next(l.after+1) != l.next || have.newest != l.newest, nil
}

// readable makes the state from the readable part of the log.
func (l *loader) readable() (*Mem, error) {
	l.ignored, l.doubt = nil, false
	m, err := l.read(l.inOnePass)
	if IsUnreadable(err) && !errors.Is(err, ErrBeforeFirst) {
		l.doubt = true
		m, err = l.read(l.oneByOne)
	}
	return m, err
}

// read makes the state from a checkpoint and the log. apply applies the commits.
func (l *loader) read(apply func(*Mem, *contents, uint64) error) (*Mem, error) {
	for {
		l.bad, l.applied = nil, 0
		m, err := l.base()
		if err != nil {
			return nil, err
		}
		m.heads = l.at.Heads
		if err = l.continueFrom(m, apply); err == nil {
			return m, nil
		}
		if err = errors.Join(err, m.Close()); !errors.Is(err, errContradicted) {
			return nil, err
		}
		l.ignored = append(l.ignored, m.base.Number)
	}
}

// base returns the newest readable checkpoint at or before the moment, or else the state
// before the first commit.
func (l *loader) base() (*Mem, error) {
	numbers, err := l.candidates()
	if err != nil {
		return nil, err
	}
	for _, n := range numbers {
		if l.at.Number > 0 && n > l.at.Number {
			continue
		}
		if slices.Contains(l.ignored, n) {
			l.bad = append(l.bad, Damage{CheckpointKey(l.log.Backup, n), errContradicted})
			continue
		}
		m, err := ReadCheckpoint(l.ctx, l.log.Store, l.log.Backup, n)
		if IsUnreadable(err) && !l.at.FromLog {
			l.bad = append(l.bad, Damage{CheckpointKey(l.log.Backup, n), err})
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := l.settleTimes(m); err != nil {
			return nil, errors.Join(err, m.Close())
		}
		if l.at.byTime() && (m.times.at.IsZero() || m.times.at.After(l.at.Time)) {
			if err := m.Close(); err != nil {
				return nil, err
			}
			continue
		}
		return m, nil
	}
	m, err := NewMem(l.ctx, l.log.Store, l.log.Backup)
	if err == nil {
		m.times.Now = l.at.Now
	}
	return m, err
}

// candidates returns the checkpoints that the state can be read from, newest first.
func (l *loader) candidates() (numbers []uint64, err error) {
	if l.numbers, err = l.log.Checkpoints(l.ctx); err != nil || !l.at.FromLog {
		return l.numbers, err
	}
	n, err := l.log.Beginning(l.ctx)
	if n == 0 || err != nil {
		return nil, err
	}
	return []uint64{n}, nil
}

// settleTimes finds out when the commit of a checkpoint was made. The checkpoint contains
// only the store time. If that is in the future, it must not hide earlier commits.
func (l *loader) settleTimes(m *Mem) error {
	m.times.Now = l.at.Now
	if !m.times.ahead(m.tip.Time) {
		return nil
	}
	h, err := l.log.Header(l.ctx, m.tip.Number)
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
func (l *loader) past(m *Mem) func(Header) bool {
	return func(h Header) bool { return l.at.byTime() && m.times.Peek(h).After(l.at.Time) }
}

// continueFrom applies the commits after the base.
func (l *loader) continueFrom(m *Mem, apply func(*Mem, *contents, uint64) error) error {
	base := m.tip.Number
	have, err := l.log.listFrom(l.ctx, base)
	if err != nil {
		return err
	}
	to := l.at.Number
	if to == 0 {
		to = have.used()
	}
	l.after, l.next, l.newest = base, have.next(base+1), have.newest
	asked := l.doubt || have.newest < base
	if asked {
		if err := l.uncontradicted(m, have); err != nil {
			return err
		}
	}
	if to > max(have.used(), base) {
		if err := Unfinished(l.log.Backup, have.newest, have.copying); err != nil {
			return fmt.Errorf("commit %d of %s: %w: %w", to, l.log.Backup, ErrAbsent, err)
		}
		return fmt.Errorf("commit %d of %s: %w: the log ends with %d", to, l.log.Backup, ErrAbsent, have.newest)
	}
	if err := l.notKept(m, have); err != nil {
		if errors.Is(err, errBase) {
			return nil
		}
		return err
	}
	if l.at.Number == 0 && have.newest < base {
		m.gap(have.newest+1, base, l.log.absent(base))
	}
	if err := apply(m, have, to); err != nil {
		return err
	}
	if l.at.Number > have.newest || l.at.Number == 0 && m.tip.Number >= have.newest { // not a moment of the part that is there
		m.copying = Unfinished(l.log.Backup, have.newest, have.copying)
	}
	if l.applied == 0 && !asked { // no commit has named the hash of the base
		if err := l.uncontradicted(m, have); err != nil {
			return err
		}
	}
	if base == 0 && l.applied == 0 && (len(m.gaps) == 0 || !l.atEnd()) {
		return ErrBeforeFirst
	}
	return nil
}

// uncontradicted returns errContradicted if the log shows that the base is of another log.
func (l *loader) uncontradicted(m *Mem, have *contents) error {
	if m.base.Number == 0 {
		return nil
	}
	other, err := l.log.contradicts(l.ctx, have, m.tip)
	if err == nil && other {
		err = errContradicted
	}
	return err
}

// atEnd reports whether the moment is the newest commit.
func (l *loader) atEnd() bool { return l.at.Number == 0 && l.at.Time.IsZero() }

// listFrom lists the log after base. It lists the whole log if commits after base are
// missing from this list, because they may be in a segment that begins earlier.
func (l *Log) listFrom(ctx context.Context, base uint64) (*contents, error) {
	have, err := l.list(ctx, max(base, 1)-1)
	if err != nil || base <= 1 {
		return have, err
	}
	if have.newest >= base && have.hole(base+1, have.newest) == 0 {
		return have, nil
	}
	return l.list(ctx, 0)
}

// inOnePass applies the commits up to a number. It stops at the first error.
func (l *loader) inOnePass(m *Mem, have *contents, to uint64) error {
	if first := have.next(1); m.tip.Number == 0 && first > 1 {
		return l.log.absent(1)
	}
	past := l.past(m)
	for c, err := range l.log.commitsAfter(l.ctx, m.tip, to, have) {
		if err != nil {
			return err
		}
		if past(c.Header()) {
			return nil
		}
		if err := m.Apply(c); err != nil {
			return err
		}
		l.applied++
	}
	return nil
}

// oneByOne applies the readable commits, and records the others as gaps.
func (l *loader) oneByOne(m *Mem, have *contents, to uint64) error {
	for n := m.tip.Number + 1; n <= to; n = m.tip.Number + 1 {
		if next := have.next(n); next != n {
			end := to
			if next > 0 {
				end = min(to, next-1)
			}
			m.skip(n, end, l.log.absent(n))
			continue
		}
		past, err := l.log.checkIn(l.ctx, n, l.past(m), have)
		switch {
		case IsUnreadable(err):
			m.skip(n, n, err)
		case err != nil:
			return err
		case past:
			return nil
		default:
			if err := l.applyOne(m, n, have); err != nil {
				return err
			}
		}
	}
	return nil
}

// applyOne applies a commit that passed check. A commit that does not continue the
// previous one is applied and also recorded as a gap, since either can be the wrong one.
func (l *loader) applyOne(m *Mem, n uint64, have *contents) error {
	for c, err := range l.log.commitsAfter(l.ctx, Tip{Number: n - 1}, n, have) {
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
		l.applied++
	}
	return nil
}
