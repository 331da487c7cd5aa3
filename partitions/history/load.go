package history

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// Moment is a point in the history of a backup: the state after commit Number, or
// after the last commit made (Times) at or before Time; the newest when both are zero.
type Moment struct {
	Number uint64
	Time   time.Time
	// FromLog applies the log from its first commit, without a checkpoint: for verify,
	// and for a damaged checkpoint. If retention has removed the beginning of the log, it
	// begins with the checkpoint that retention has left there.
	FromLog bool
	// Now is the reader's clock. Store times in the future are ignored (Times). Zero =
	// unknown.
	Now time.Time
	// Tolerant accepts a log with unreadable commits. Mem.Gaps returns them.
	Tolerant bool
	// ID is that in backup.json. If it is empty, a copy that is not complete is not recognized (CopyingKey).
	ID string
	// Heads leaves records and messages out, which saves most of the work for a long log.
	// Mailboxes and items are those of the moment, but the totals of the mailboxes are not,
	// and Mem answers questions about records and messages with ErrHeadsOnly, unless no
	// commit follows the checkpoint.
	Heads bool
}

// byTime reports whether the moment is a time.
func (a Moment) byTime() bool { return a.Number == 0 && !a.Time.IsZero() }

func (a Moment) String() string {
	switch {
	case a.Number > 0:
		return fmt.Sprintf("commit %d", a.Number)
	case !a.Time.IsZero():
		return a.Time.UTC().Format(time.RFC3339)
	}
	return "the newest commit"
}

// Load reads the state of the backup at the moment, from the newest readable checkpoint
// at or before it and the commits after that checkpoint. It lists the checkpoints and the
// log. A moment before the first commit in the log is ErrBeforeFirst; an unused number is
// ErrAbsent. A missing or damaged commit is an error unless a later bridged event names
// it, or the moment is Tolerant (see Mem.Gaps). ctx must stay valid as long as the Mem is
// used.
func Load(ctx context.Context, s objstore.Store, backup string, at Moment) (*Mem, error) {
	l := &loader{ctx: ctx, log: &Log{Store: s, Backup: backup, ID: at.ID}, at: at}
	m, err := l.load()
	if err != nil {
		return nil, fmt.Errorf("state of %s at %s: %w", backup, at, err)
	}
	return m, nil
}

// Checkpoints returns the numbers of the checkpoints, newest first. It costs a LIST, so
// only tools and rebuilds use it.
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

// ReadCheckpoint reads the state from checkpoint n of the backup. Blocks are read on
// demand. ctx must stay valid as long as the Mem is used.
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
	h, err := m.readState(sum, e.size)
	if err == nil && (h.Backup != backup || h.Number != n) {
		err = fmt.Errorf("%w: holds checkpoint %d of %s", ErrCorrupt, h.Number, h.Backup)
	}
	if err != nil {
		return nil, inObject(key, fmt.Errorf("%s: %w", stateEntry, err))
	}
	m.base = Checkpoint{Number: n, Hash: sum.hex(), Previous: h.Previous}
	if e, err = wantEntry(next, placesEntry); err == nil {
		err = m.readBlockPlaces(e.body, e.size)
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
		err = fmt.Errorf("%w: %s is too large, %d bytes", ErrCorrupt, name, e.size)
	}
	return e, err
}

// ErrNoCheckpoint reports a backup without a checkpoint.
var ErrNoCheckpoint = errors.New("no checkpoint written yet")

// LoadCheckpoint reads the newest checkpoint; the error is ErrNoCheckpoint if there is
// none. It lists the checkpoints. ctx must stay valid as long as the Mem is used.
func LoadCheckpoint(ctx context.Context, s objstore.Store, backup string) (*Mem, error) {
	numbers, err := (&Log{Store: s, Backup: backup}).Checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		return nil, fmt.Errorf("%s: %w", backup, ErrNoCheckpoint)
	}
	return ReadCheckpoint(ctx, s, backup, numbers[0])
}
