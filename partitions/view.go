package partitions

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Name returns the name of the backup.
func (b *Backup) Name() repository.Name { return b.name }

// Path returns the path of the backup below backups/.
func (b *Backup) Path() string { return b.path }

// Lease returns the lease, which records which connection works on the backup.
func (b *Backup) Lease() *Lease { return &b.lease }

// Config returns the partition that holds the backup. The backup must exist, and the caller
// holds the commit mutex.
func (b *Backup) Config() repository.Config { return b.part.Config() }

// Number returns the number of the newest commit, or 0 if there is no commit or no backup. The
// caller holds the commit mutex.
func (b *Backup) Number() uint64 {
	if b.entry == nil {
		return 0
	}
	return b.entry.Number
}

// Exists reports whether a partition holds the backup. The caller holds the commit mutex.
func (b *Backup) Exists() bool { return b.entry != nil }

// Invalidate makes the next command read the backup from the bucket. It is used after a panic,
// because the state in memory may be wrong.
func (b *Backup) Invalidate() { b.unsure.Store(true) }

// BringUp updates the index from the bucket. It takes the commit mutex.
func (b *Backup) BringUp(ctx context.Context) error {
	if err := b.Begin(ctx); err != nil {
		return err
	}
	defer b.End()
	return b.refresh(ctx)
}

// Create creates the backup if no partition holds it: in the partition of beside or, if beside
// is nil, in the partition that hashing chooses. The caller holds the commit mutex.
func (b *Backup) Create(ctx context.Context, beside *Backup) error {
	if beside == nil {
		return b.create(ctx, nil)
	}
	return b.create(ctx, beside.part)
}

// View reads the state of the backup. It does not call fn if the backup does not exist. The
// caller holds the commit mutex.
func (b *Backup) View(fn func(st *State) error) error {
	if b.entry == nil {
		return nil
	}
	return b.set.index.View(func(t *index.Txn) error { return fn(b.stateIn(t)) })
}

func (b *Backup) stateIn(t *index.Txn) *State {
	return &State{set: b.set, t: t, id: b.entry.ID, path: b.path, part: b.part}
}

// ViewOrNone is View, but calls fn with nil if the backup does not exist.
func (b *Backup) ViewOrNone(fn func(st *State) error) error {
	if b.entry == nil {
		return fn(nil)
	}
	return b.View(fn)
}

// Read is View for commands: it takes the commit mutex.
func (b *Backup) Read(ctx context.Context, fn func(st *State) error) error {
	if err := b.Begin(ctx); err != nil {
		return err
	}
	defer b.End()
	return b.Failed(b.View(fn))
}

// Open streams a message that the backup knows.
func (b *Backup) Open(ctx context.Context, m *history.MessageState) (io.ReadCloser, error) {
	if err := b.Begin(ctx); err != nil {
		return nil, err
	}
	places, err := b.places(m)
	b.End()
	if err != nil {
		return nil, err
	}
	return b.part.openMessage(ctx, m, places)
}

// A Change decides what to do to a backup. It reads the state (nil if the backup does not
// exist) and returns the events to commit, or none if nothing changes. It is called again if
// another writer's commits came first.
type Change func(st *State) ([]history.Event, error)

// Change commits the events that c returns, and creates the backup if needed. The caller holds
// the commit mutex.
func (b *Backup) Change(ctx context.Context, who Author, c Change) error {
	for range commitTries {
		var events []history.Event
		err := b.ViewOrNone(func(st *State) (err error) {
			events, err = c(st)
			return err
		})
		if err != nil || len(events) == 0 {
			return err
		}
		if err := b.create(ctx, nil); err != nil {
			return err
		}
		bld := history.NewBuilder(history.Header{}, b.set.opt.Pack)
		for _, e := range events {
			if err := bld.Event(e); err != nil {
				return err
			}
		}
		err = b.commit(ctx, who, bld, func() error { return errAgain })
		if !errors.Is(err, errAgain) {
			return err
		}
	}
	return fmt.Errorf("other commits came first, %d times: %w", commitTries, cyrus.ErrLocked)
}

// errAgain reports that other commits came first, so the change has to be decided again.
var errAgain = errors.New("other commits came first")

// places returns where the chunks of a message are stored. The caller holds the commit mutex.
func (b *Backup) places(m *history.MessageState) (map[history.ChunkID]history.Place, error) {
	places := map[history.ChunkID]history.Place{}
	err := b.View(func(st *State) error {
		for _, c := range m.Chunks {
			p, err := st.place(m, c)
			if err != nil {
				return err
			}
			places[c] = p
		}
		return nil
	})
	return places, err
}
