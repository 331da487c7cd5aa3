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

// Backup holds everything for one user, one tree of shared mailboxes, or the server's
// annotations. A process has one usable Backup for each path.
type Backup struct {
	set  *Set
	name repository.Name
	path string
	// users counts the calls of Use without Leave. Set.mu guards it.
	users int

	lease Lease // records which connection works on the backup

	unsure atomic.Bool // set after a panic: the state in memory may be wrong

	// mutex is the commit mutex. A writer holds it while it reads the state, decides, and
	// commits, so that the commits of one backup queue up. It is a channel so that waiting
	// for it can be canceled.
	mutex chan struct{}
	// The commit mutex guards the following fields.
	forgotten bool       // another handle may have taken the place of this one
	part      *Partition // nil: unknown, or not created yet
	entry     *entry     // nil: unknown, or not created yet
	epoch     uint64     // of part, when entry was read
	lock      lockView
	// provenAt is when the store last confirmed the newest commit; zero = not yet.
	provenAt time.Time
	putAt    moment         // when the last put of a commit was answered
	storeAt  time.Time      // the store's time when it last confirmed the newest commit; zero = unknown
	last     history.Header // of the commit that was applied last
	prunes   int            // prune, retained and erased events that were applied since the process began, and rebuilds
	listedAt time.Time      // when a listing of the log last showed no hole; zero = not yet
	damaged  error          // an errOtherHistory found outside a command; the next command handles it
	// deleted counts what this process has seen deleted; nil = nothing.
	deleted *deletedCount

	mu       sync.Mutex
	pending  bool      // a checkpoint is queued or being written
	unfolded time.Time // when a checkpoint last failed because of damage
}

// entry is the value of index.BackupKey for a backup.
type entry struct {
	Partition string `json:"partition"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	ID        uint64 `json:"id"` // identifies the backup in the keys of this index
	// Number and Hash identify the newest commit in the index; 0 = none.
	Number uint64    `json:"number"`
	Hash   string    `json:"hash"`
	Time   time.Time `json:"time"`             // store time of that commit
	Random string    `json:"random,omitempty"` // of that commit: distinguishes it from another commit with the same number
	// Applying is the number of the commit that is being applied; 0 = none.
	Applying uint64 `json:"applying,omitempty"`
	// Rebuilding means that the index holds only a part of the state and must not be used.
	Rebuilding bool `json:"rebuilding,omitempty"`
	// ETag is the ETag of the commit's object. The bytes are unchanged while the ETag is.
	// "" = unknown.
	ETag string `json:"etag,omitempty"`
	// Checkpoint is the number of the newest checkpoint; 0 = none. LogBytes is the size of
	// the log after it.
	Checkpoint uint64 `json:"checkpoint,omitempty"`
	// CheckpointBytes is the number of bytes put for that checkpoint, an estimate for the
	// next one; 0 = unknown.
	CheckpointBytes int64 `json:"checkpoint_bytes,omitempty"`
	LogBytes        int64 `json:"log_bytes"`
	// Read is lossCount.Invalid of the partition when the state was read from the bucket.
	// Checked is lossCount.Count when the backup was last searched for losses.
	Read    uint64 `json:"read,omitempty"`
	Checked uint64 `json:"checked,omitempty"`
	// Own is what a list shows of the backup, as far as this index knows it.
	Own ownObjects `json:"own,omitzero"`
	// Sealed is the event that sealed the log: only the repository in it continues the log.
	Sealed *history.SealedEvent `json:"sealed,omitempty"`
}

func newBackup(s *Set, n repository.Name) *Backup {
	b := &Backup{set: s, name: n, path: n.Path(), lease: newLease(), mutex: make(chan struct{}, 1)}
	return b
}

// Begin acquires the commit mutex of the backup.
func (b *Backup) Begin(ctx context.Context) error {
	select {
	case b.mutex <- struct{}{}:
		return b.valid() // no wait, so no timer
	default:
	}
	limit, stop := limited(ctx)
	defer stop()
	select {
	case b.mutex <- struct{}{}:
		return b.valid()
	case <-limit.Done():
		return fmt.Errorf("%s is in use: %w", b.path, givenUp(ctx, limit.Err()))
	}
}

// End releases the commit mutex.
func (b *Backup) End() { <-b.mutex }

// refresh updates the index from the bucket. After nil, entry describes the newest commit,
// which the store has just confirmed, or is nil because no partition holds the backup. The
// caller holds the commit mutex. In the steady state refresh sends two concurrent HEAD
// requests, for that commit and for the next one.
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
	if b.entry.Number == 0 { // the backup may have been set aside while it looked empty
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

// find sets part and entry from the index or from the buckets.
func (b *Backup) find(ctx context.Context) error {
	if b.unsure.Swap(false) {
		b.part, b.entry = nil, nil
	}
	if b.entry != nil && b.epoch == b.part.epoch.Load() {
		return nil
	}
	if b.entry != nil { // the index of the partition was invalidated
		if err := b.drop(); err != nil {
			return err
		}
	}
	p, err := b.indexed(ctx)
	if err != nil || p != nil {
		return err
	}
	p, err = b.set.locate(ctx, b.name, b.part)
	if err != nil {
		return err
	}
	if b.part = p; p == nil {
		return nil // what a client sends is staged where the backup will begin, not where it was
	}
	return b.rebuild(ctx)
}

// indexed sets part and entry from the index if the partition still has the repository that
// the index was made from. It returns nil if the index has no usable entry.
func (b *Backup) indexed(ctx context.Context) (*Partition, error) {
	e, err := b.set.readEntry(b.path)
	if err != nil || e == nil {
		return nil, err
	}
	if e.Rebuilding {
		b.part = b.set.partition(e.Partition) // a hint for locate
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
	if repo == nil { // the bucket is empty, so its index is dropped
		return nil, b.set.forgetPartition(p.name, "", countStart{})
	}
	if e, err = b.set.readEntry(b.path); err != nil || e == nil || e.Read < p.lossCount().Invalid {
		return nil, err
	}
	b.part, b.entry, b.epoch = p, e, p.epoch.Load()
	return p, nil
}

// create creates the backup if no partition holds it. in is the partition for it; nil = the
// partition chosen by hashing. The caller holds the commit mutex.
func (b *Backup) create(ctx context.Context, in *Partition) error {
	if b.entry != nil {
		return nil
	}
	if in == nil {
		in = choose(b.set.parts, b.path)
	}
	size, err := in.createInfo(ctx, b.name)
	if err != nil {
		return err
	}
	b.part, b.epoch = in, in.epoch.Load()
	if err := b.newEntry(false, size); err != nil {
		return err
	}
	b.proven() // refresh has just found that no partition holds the backup
	b.listedAt, b.lock = b.provenAt, lockNone
	return nil
}

// newEntry adds an entry with an empty state to the index. size is the size of backup.json; 0 =
// unknown.
func (b *Backup) newEntry(rebuilding bool, size int64) error {
	id, err := b.set.nextID()
	if err != nil {
		return err
	}
	e := &entry{Partition: b.part.name, Kind: b.name.Kind, Name: b.name.Full, ID: id, Rebuilding: rebuilding, Read: b.part.lossCount().Invalid,
		Own: ownObjects{Bytes: size, Since: b.set.opt.Now()}}
	if err := b.set.index.Update(func(t *index.Txn) error { return writeEntry(t, b.path, e) }); err != nil {
		return err
	}
	b.entry, b.lock = e, lockUnknown
	b.provenAt, b.listedAt, b.storeAt, b.damaged = time.Time{}, time.Time{}, time.Time{}, nil
	return nil
}

func writeEntry(t *index.Txn, path string, e *entry) error {
	v, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return t.Set(index.BackupKey(path), v)
}

// readEntry returns nil for a value that cannot be decoded: the bucket has everything. What the index has of the
// backup then stays in it without use.
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
		if err := json.Unmarshal(v, e); err != nil {
			s.log.Error("the index entry of a backup cannot be read: the index is made again from the bucket", "backup", path, "err", err)
			e = nil
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("index entry of %s: %w", path, err)
	}
	return e, nil
}

// entries returns the entries of all backups in the index, by path.
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

// nextID returns a number for the keys of a backup. It never returns the same number twice.
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
