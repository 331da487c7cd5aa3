package history

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"backupd/objstore"
)

// Moment is a point in the history of a backup: the state after commit Number, or
// after the last commit of or before Time; the newest when both are zero.
type Moment struct {
	Number uint64
	Time   time.Time
	// FromLog folds the log from its first commit, without a checkpoint: for verify,
	// and when a checkpoint is damaged.
	FromLog bool
}

func (a Moment) String() string {
	switch {
	case a.Number > 0:
		return fmt.Sprintf("commit %d", a.Number)
	case !a.Time.IsZero():
		return a.Time.UTC().Format(time.RFC3339)
	}
	return "the newest commit"
}

// Load reads the state of the backup at the moment: the newest checkpoint at or
// before it and the commits after that. It lists the checkpoints. A moment before
// the first commit that is kept is ErrBeforeFirst; a number that is not used yet is
// ErrAbsent. ctx must hold as long as the Mem is used.
func Load(ctx context.Context, s objstore.Store, backup string, at Moment) (*Mem, error) {
	m, err := load(ctx, s, backup, at)
	if err != nil {
		return nil, fmt.Errorf("state of %s at %s: %w", backup, at, err)
	}
	return m, nil
}

func load(ctx context.Context, s objstore.Store, backup string, at Moment) (*Mem, error) {
	l := &Log{Store: s, Backup: backup}
	var numbers []uint64
	if !at.FromLog {
		var err error
		if numbers, err = l.Checkpoints(ctx); err != nil {
			return nil, err
		}
	}
	m, err := loadCheckpoint(ctx, s, backup, numbers, at)
	if err != nil {
		return nil, err
	}
	to := at.Number
	if to == 0 {
		if to, err = l.Newest(ctx, m.tip.Number); err != nil {
			return nil, err
		}
	}
	for c, err := range l.CommitsAfter(ctx, m.tip, to) {
		if err != nil {
			if errors.Is(err, ErrAbsent) && m.tip.Number == 0 {
				return nil, fmt.Errorf("%w that is kept: %w", ErrBeforeFirst, err)
			}
			return nil, err
		}
		if at.Number == 0 && !at.Time.IsZero() && c.Header().Time.After(at.Time) {
			break
		}
		if err := m.Apply(c); err != nil {
			return nil, err
		}
	}
	if m.tip.Number == 0 {
		return nil, ErrBeforeFirst
	}
	return m, nil
}

// Checkpoints returns the numbers of the checkpoints, newest first. It lists them:
// only tools and a rebuild do that.
func (l *Log) Checkpoints(ctx context.Context) ([]uint64, error) {
	var numbers []uint64
	for info, err := range l.Store.List(ctx, CheckpointPrefix(l.Backup), "") {
		if err != nil {
			return nil, err
		}
		if n, ok := ParseCheckpointKey(l.Backup, info.Key); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Reverse(numbers)
	return numbers, nil
}

// loadCheckpoint reads the newest of the checkpoints at or before the moment; without
// one the Mem is that before the first commit.
func loadCheckpoint(ctx context.Context, s objstore.Store, backup string, numbers []uint64, at Moment) (*Mem, error) {
	for _, n := range numbers {
		if at.Number > 0 && n > at.Number {
			continue
		}
		m, err := ReadCheckpoint(ctx, s, backup, n)
		if err != nil {
			return nil, err
		}
		if at.Number == 0 && !at.Time.IsZero() && m.tip.Time.After(at.Time) {
			continue
		}
		return m, nil
	}
	return NewMem(ctx, s, backup)
}

// ReadCheckpoint reads the state as checkpoint n of the backup has it. Its blocks are
// read when they are asked for. ctx must hold as long as the Mem is used.
func ReadCheckpoint(ctx context.Context, s objstore.Store, backup string, n uint64) (*Mem, error) {
	key := CheckpointKey(backup, n)
	m, err := NewMem(ctx, s, backup)
	if err != nil {
		return nil, err
	}
	next, stop := iter.Pull2(entriesOf(ctx, s, key))
	defer stop()
	e, err := wantEntry(next, stateEntry)
	if err != nil {
		return nil, inObject(key, err)
	}
	sum := newHashingReader(e.body)
	h, err := m.readState(sum)
	if err == nil && (h.Backup != backup || h.Number != n) {
		err = fmt.Errorf("%w: it is checkpoint %d of %s", ErrCorrupt, h.Number, h.Backup)
	}
	if err != nil {
		return nil, inObject(key, fmt.Errorf("%s: %w", stateEntry, err))
	}
	m.base = Checkpoint{Number: n, Hash: sum.hex(), Previous: h.Previous}
	if e, err = wantEntry(next, placesEntry); err == nil {
		err = m.readBlockPlaces(e.body)
	}
	if err != nil {
		return nil, inObject(key, fmt.Errorf("%s: %w", placesEntry, err))
	}
	return m, nil
}

func wantEntry(next func() (entry, error, bool), name string) (entry, error) {
	e, err, ok := next()
	if err == nil && !ok {
		err = fmt.Errorf("%w: no entry %s", ErrCorrupt, name)
	}
	if err == nil && e.name != name {
		err = fmt.Errorf("%w: entry %q, want %s", ErrCorrupt, e.name, name)
	}
	if err == nil && e.size > maxStateSize {
		err = fmt.Errorf("%w: %s of %d bytes", ErrCorrupt, name, e.size)
	}
	return e, err
}

// ErrNoCheckpoint: none was written yet.
var ErrNoCheckpoint = errors.New("there is none")

// LoadCheckpoint reads the newest checkpoint; ErrNoCheckpoint when there is none.
// It lists the checkpoints. ctx must hold as long as the Mem is used.
func LoadCheckpoint(ctx context.Context, s objstore.Store, backup string) (*Mem, error) {
	numbers, err := (&Log{Store: s, Backup: backup}).Checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		return nil, fmt.Errorf("checkpoints of %s: %w", backup, ErrNoCheckpoint)
	}
	return ReadCheckpoint(ctx, s, backup, numbers[0])
}
