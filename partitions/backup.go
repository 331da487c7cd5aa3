package partitions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Backup is everything held for one user, one tree of shared mailboxes, or the
// server's annotations. There is one for each path in a process.
type Backup struct {
	set  *Set
	name repository.Name
	path string

	lease Lease // which connection works on it

	unsure atomic.Bool // after a panic: the state in memory may be wrong

	// mutex is held over reading the state, deciding and committing: the commits of one
	// backup queue up. A channel, so that waiting can be given up.
	mutex chan struct{}
	// What follows is guarded by mutex.
	part  *Partition // nil: not known, or nowhere yet
	entry *entry     // nil: not known, or nowhere yet
	epoch uint64     // of part, when entry was made known
	lock  lockView
	// provenAt is when the store last confirmed the newest commit; zero = not yet.
	provenAt time.Time
	listedAt time.Time // when the log was last listed and had no hole; zero = not yet
	damaged  error     // an errOtherHistory that something else than a command has met

	mu       sync.Mutex
	pending  bool      // a checkpoint is asked for
	unfolded time.Time // when one could not be made, since something is damaged
}

// entry is what the index keeps of a backup under BackupKey.
type entry struct {
	Partition string `json:"partition"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	ID        uint64 `json:"id"` // in the keys of this index
	// Number and Hash are of the newest commit that the index shows; 0 = none.
	Number uint64    `json:"number"`
	Hash   string    `json:"hash"`
	Time   time.Time `json:"time"`             // store time in that commit
	Random string    `json:"random,omitempty"` // in that commit: distinguishes it from another commit with its number
	// Applying is the commit that is being applied in parts; 0 = none.
	Applying uint64 `json:"applying,omitempty"`
	// Rebuilding: the index holds a part of the state, which is of no use.
	Rebuilding bool `json:"rebuilding,omitempty"`
	// ETag is that of the commit's object: while it is the same, so are the bytes. "" = not known.
	ETag string `json:"etag,omitempty"`
	// The log after the newest checkpoint.
	Checkpoint uint64 `json:"checkpoint,omitempty"`
	// CheckpointBytes is what that one put: about what the next one will; 0 = not known.
	CheckpointBytes int64 `json:"checkpoint_bytes,omitempty"`
	LogBytes        int64 `json:"log_bytes"`
	// Read and Checked count losses of the partition (lossCount): those found before the
	// state was read from the bucket, and those for which the backup was looked through.
	Read    uint64 `json:"read,omitempty"`
	Checked uint64 `json:"checked,omitempty"`
	// Sealed: the log goes on in that repository alone.
	Sealed *history.SealedEvent `json:"sealed,omitempty"`
}

func newBackup(s *Set, n repository.Name) *Backup {
	b := &Backup{set: s, name: n, path: n.Path(), lease: newLease(), mutex: make(chan struct{}, 1)}
	return b
}

// Begin takes the backup's mutex: one commit after the other.
func (b *Backup) Begin(ctx context.Context) error {
	limit, stop := limited(ctx)
	defer stop()
	select {
	case b.mutex <- struct{}{}:
		return nil
	case <-limit.Done():
		return fmt.Errorf("%s is in use: %w", b.path, givenUp(ctx, limit.Err()))
	}
}

// End gives the mutex back.
func (b *Backup) End() { <-b.mutex }

// refresh updates the index from the bucket: after nil, entry shows the newest
// commit, which the store has just confirmed, or is nil because no partition holds the
// backup. The mutex is held. Steady state: two HEADs at once, of that commit and of the next.
func (b *Backup) refresh(ctx context.Context) error {
	err := b.advance(ctx)
	if err == nil && b.damaged != nil && b.entry != nil {
		err = b.damaged
	}
	if errors.Is(err, errOtherHistory) {
		err = b.restart(ctx, err)
	}
	if err != nil || b.entry == nil {
		return err
	}
	ended, err := b.ended(ctx)
	if err == nil && !ended {
		ended, err = b.afterLock(ctx)
	}
	if err == nil && ended {
		err = b.follow(ctx)
	}
	if err != nil || b.entry == nil {
		return err
	}
	return b.heal(ctx)
}

// afterLock waits for a lock to end; ended reports that its holder moved the backup.
func (b *Backup) afterLock(ctx context.Context) (ended bool, err error) {
	waited, err := b.outwaitLock(ctx)
	if err != nil || !waited {
		return false, err
	}
	if b.entry.Number == 0 { // it may have been set aside while it looked empty
		if err := b.drop(); err != nil {
			return false, err
		}
	}
	if err := b.advance(ctx); err != nil || b.entry == nil {
		return false, err
	}
	return b.ended(ctx)
}

func (b *Backup) advance(ctx context.Context) error {
	if err := b.find(ctx); err != nil || b.entry == nil {
		return err
	}
	if b.entry.Applying != 0 {
		if err := b.redo(ctx); err != nil {
			return err
		}
	}
	return b.toNewest(ctx)
}

// find makes part and entry known, from the index or from the buckets.
func (b *Backup) find(ctx context.Context) error {
	if b.unsure.Swap(false) {
		b.part, b.entry = nil, nil
	}
	if b.entry != nil && b.epoch == b.part.epoch.Load() {
		return nil
	}
	if b.entry != nil { // what the index knew of the partition is not believed any more
		if err := b.drop(); err != nil {
			return err
		}
	}
	p, err := b.indexed(ctx)
	if err != nil || p != nil {
		return err
	}
	p, err = b.set.locate(ctx, b.name, b.part)
	if err != nil || p == nil {
		return err
	}
	b.part = p
	return b.rebuild(ctx)
}

// indexed believes the index, for the repository that it was made from: nil when it
// says nothing that is of use.
func (b *Backup) indexed(ctx context.Context) (*Partition, error) {
	e, err := b.set.readEntry(b.path)
	if err != nil || e == nil {
		return nil, err
	}
	if e.Rebuilding {
		b.part = b.set.partition(e.Partition) // where it was
		return nil, nil
	}
	p := b.set.partition(e.Partition)
	if p == nil {
		return nil, nil
	}
	repo, err := p.repository(ctx, false)
	if err != nil {
		return nil, err
	}
	if repo == nil { // the bucket is empty: so is the index of it
		return nil, b.set.forgetPartition(p.name, "")
	}
	if e, err = b.set.readEntry(b.path); err != nil || e == nil || e.Read < p.lossCount().Invalid {
		return nil, err
	}
	b.part, b.entry, b.epoch = p, e, p.epoch.Load()
	return p, nil
}

// create makes the backup where no partition holds it. in is the partition that it
// shall lie in, nil for the one that hashing chooses. The mutex is held.
func (b *Backup) create(ctx context.Context, in *Partition) error {
	if b.entry != nil {
		return nil
	}
	if in == nil {
		in = choose(b.set.parts, b.path)
	}
	if err := in.createInfo(ctx, b.name); err != nil {
		return err
	}
	b.part, b.epoch = in, in.epoch.Load()
	if err := b.newEntry(false); err != nil {
		return err
	}
	b.proven() // that it was nowhere has just been seen
	b.listedAt, b.lock = b.provenAt, lockNone
	return nil
}

// newEntry begins an empty state in the index.
func (b *Backup) newEntry(rebuilding bool) error {
	id, err := b.set.nextID()
	if err != nil {
		return err
	}
	e := &entry{Partition: b.part.name, Kind: b.name.Kind, Name: b.name.Full, ID: id, Rebuilding: rebuilding, Read: b.part.lossCount().Invalid}
	if err := b.set.index.Update(func(t *index.Txn) error { return writeEntry(t, b.path, e) }); err != nil {
		return err
	}
	b.entry, b.lock = e, lockUnknown
	b.provenAt, b.listedAt, b.damaged = time.Time{}, time.Time{}, nil
	return nil
}

func writeEntry(t *index.Txn, path string, e *entry) error {
	v, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return t.Set(index.BackupKey(path), v)
}

func (s *Set) readEntry(path string) (e *entry, err error) {
	err = s.index.View(func(t *index.Txn) error {
		v, err := t.Get(index.BackupKey(path))
		if errors.Is(err, index.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		e = new(entry)
		return json.Unmarshal(v, e)
	})
	if err != nil {
		return nil, fmt.Errorf("index entry of %s: %w", path, err)
	}
	return e, nil
}

// entries are all backups that the index knows.
func (s *Set) entries() (map[string]*entry, error) {
	out := map[string]*entry{}
	err := s.index.View(func(t *index.Txn) error {
		for kv, err := range t.Scan(index.BackupPrefix(), nil) {
			if err != nil {
				return err
			}
			e := new(entry)
			if err := json.Unmarshal(kv.Value, e); err != nil {
				return fmt.Errorf("index entry of %s: %w", index.PathOf(kv.Key), err)
			}
			out[index.PathOf(kv.Key)] = e
		}
		return nil
	})
	return out, err
}

// nextID gives out a number for the keys of a backup; none is given out twice.
func (s *Set) nextID() (id uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.index.Update(func(t *index.Txn) error {
		v, err := t.Get(index.NextBackupKey())
		if err != nil && !errors.Is(err, index.ErrNotFound) {
			return err
		}
		if v != nil {
			if err := json.Unmarshal(v, &id); err != nil {
				return err
			}
		}
		next, err := json.Marshal(id + 1)
		if err != nil {
			return err
		}
		return t.Set(index.NextBackupKey(), next)
	})
	return id, err
}

func (s *Set) dropBackup(path string, id uint64) error {
	if err := s.index.Update(func(t *index.Txn) error { return t.Delete(index.BackupKey(path)) }); err != nil {
		return err
	}
	return s.index.DropBackup(id)
}

func (b *Backup) saveEntry() error {
	return b.set.index.Update(func(t *index.Txn) error { return writeEntry(t, b.path, b.entry) })
}
