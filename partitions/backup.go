package partitions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"backupd/index"
	"backupd/objstore"
	"backupd/partitions/history"
)

// Backup is everything held for one user, one tree of shared mailboxes, or the
// server's annotations. There is one for each path in a process.
type Backup struct {
	set  *Set
	name Name
	path string

	hold holding // which session works on it

	// turn is held over reading the state, deciding and committing: the commits of one
	// backup queue up. A channel, so that waiting can be given up.
	turn chan struct{}
	// What follows is guarded by turn.
	part  *Partition // nil: not known, or nowhere yet
	entry *entry     // nil: not known, or nowhere yet
	epoch uint64     // of part, when entry was made known
	lock  lockView

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
	Random string    `json:"random,omitempty"` // in that commit: tells it from another one with its number
	// Applying is the commit that is being applied in parts; 0 = none.
	Applying uint64 `json:"applying,omitempty"`
	// Rebuilding: what is there is a part of the state, of no use.
	Rebuilding bool `json:"rebuilding,omitempty"`
	// Proven is the store time at which Number was known to be the newest.
	Proven time.Time `json:"proven"`
	// What lies behind the newest checkpoint.
	Checkpoint uint64 `json:"checkpoint,omitempty"`
	// CheckpointBytes is what that one put: about what the next one will; 0 = not known.
	CheckpointBytes int64 `json:"checkpoint_bytes,omitempty"`
	LogBytes        int64 `json:"log_bytes"`
	// Sealed: the log goes on in that repository alone.
	Sealed *history.SealedEvent `json:"sealed,omitempty"`
}

func newBackup(s *Set, n Name) *Backup {
	b := &Backup{set: s, name: n, path: n.Path(), turn: make(chan struct{}, 1)}
	b.hold.init()
	return b
}

// begin takes the backup's turn; end gives it back.
func (b *Backup) begin(ctx context.Context) error {
	select {
	case b.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Backup) end() { <-b.turn }

// refresh brings the index up to the bucket: after nil, entry shows the newest
// commit, or is nil because no partition holds the backup. The turn is held.
// Steady state: one HEAD, of the commit that would be next.
func (b *Backup) refresh(ctx context.Context) error {
	err := b.advance(ctx)
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
	return err
}

// afterLock waits for a lock to end; ended says that its holder has moved the backup away.
func (b *Backup) afterLock(ctx context.Context) (ended bool, err error) {
	waited, err := b.outwaitLock(ctx)
	if err != nil || !waited {
		return false, err
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
	if err := b.prove(ctx); err != nil {
		return err
	}
	return b.catchUp(ctx)
}

// prove makes sure that the newest commit that the index knows is in the bucket, if
// that was not seen of late. Otherwise it may have been merged into a segment, or the
// bucket is not the one that we know any more (errOtherHistory).
func (b *Backup) prove(ctx context.Context) error {
	if b.part.clock.now(b.set.opt.Now()).Sub(b.entry.Proven) <= provenFor {
		return nil
	}
	if b.entry.Number == 0 {
		// That there is no commit 1 proves nothing: it may have been merged.
		log := history.Log{Store: b.part.store, Backup: b.path}
		newest, err := await(ctx, func() (uint64, error) { return log.Newest(ctx, 0) })
		if err == nil && newest > 0 {
			err = fmt.Errorf("its log goes to %d, the index knows of none: %w", newest, errOtherHistory)
		}
		return err
	}
	h, err := await(ctx, func() (history.Header, error) {
		return history.ReadHeader(ctx, b.part.store, b.path, b.entry.Number)
	})
	switch {
	case errors.Is(err, objstore.ErrNotExist):
		return fmt.Errorf("the bucket lacks commit %d, the newest that the index knows: %w", b.entry.Number, errOtherHistory)
	case err != nil:
		return err
	case h.Random != b.entry.Random:
		return fmt.Errorf("commit %d in the bucket is another one than the index knows: %w", b.entry.Number, errOtherHistory)
	}
	return nil
}

// restart makes the index of the backup anew, after something in the bucket was not
// as the index has it: the bucket is right. Where the bucket turns out to lack a
// commit that was in it, it was restored to an older state, and may lack packs too:
// then nothing that the index knows of the whole partition is believed any longer.
func (b *Backup) restart(ctx context.Context, why error) error {
	b.set.log.Warn("the index of this backup is made anew from the bucket", "backup", b.path, "err", why)
	was := *b.entry
	if err := b.drop(); err != nil {
		return err
	}
	b.part.forgetRepository()
	if err := b.find(ctx); err != nil {
		return err
	}
	if b.entry != nil {
		same, err := b.continues(ctx, was)
		if same || err != nil {
			return err
		}
	}
	p := b.set.partition(was.Partition)
	b.set.log.Error("the bucket lacks commits that were in it: everything that the index knows of its partition is read anew",
		"backup", b.path, "partition", was.Partition, "number", was.Number)
	if err := p.distrust(); err != nil {
		return err
	}
	if b.entry == nil {
		return nil
	}
	return b.rebuild(ctx)
}

// continues says whether the log still has the commit that an older entry knew.
func (b *Backup) continues(ctx context.Context, was entry) (bool, error) {
	switch {
	case was.Number == 0:
		return true, nil
	case was.Number >= b.entry.Number:
		return was.Number == b.entry.Number && was.Hash == b.entry.Hash, nil
	}
	var next history.Header
	err := await0(ctx, func() error {
		log := history.Log{Store: b.part.store, Backup: b.path}
		for c, err := range log.Commits(ctx, was.Number+1, was.Number+1) {
			if err != nil {
				return err
			}
			next = c.Header()
		}
		return nil
	})
	if errors.Is(err, history.ErrAbsent) {
		return true, nil // removed by age: nothing younger than 48 h is
	}
	return next.Prev == was.Hash, err
}

// provenFor is how long (store time) a view of the log may be believed to begin at
// an existing commit: nothing younger than 48 h is ever removed (design.md, promise 6).
const provenFor = time.Hour

// exists says whether commit n has an object of its own, and how large it is.
func (b *Backup) exists(ctx context.Context, n uint64) (there bool, size int64, err error) {
	i, err := await(ctx, func() (objstore.Info, error) { return b.part.store.Stat(ctx, history.LogKey(b.path, n)) })
	if errors.Is(err, objstore.ErrNotExist) {
		return false, 0, nil
	}
	return err == nil, i.Size, err
}

// catchUp applies the commits that other hosts made.
func (b *Backup) catchUp(ctx context.Context) error {
	for {
		there, size, err := b.exists(ctx, b.entry.Number+1)
		if err != nil {
			return err
		}
		if !there {
			b.entry.Proven = b.part.clock.now(b.set.opt.Now())
			return nil
		}
		if err := b.applyFromBucket(ctx, b.entry.Number+1, size); err != nil {
			return err
		}
	}
}

// find makes part and entry known, from the index or from the buckets.
func (b *Backup) find(ctx context.Context) error {
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
	p, err = b.set.locate(ctx, b.name)
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
	if err != nil || e == nil || e.Rebuilding {
		return nil, err
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
	if e, err = b.set.readEntry(b.path); err != nil || e == nil {
		return nil, err
	}
	e.Proven = time.Time{} // by another life of the daemon: the bucket may have been restored since
	b.part, b.entry, b.epoch = p, e, p.epoch.Load()
	return p, nil
}

// create makes the backup where no partition holds it. in is the partition that it
// shall lie in, nil for the one that hashing chooses. The turn is held.
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
	b.entry.Proven = in.clock.now(b.set.opt.Now()) // that it was nowhere has just been seen
	b.lock = lockNone
	return nil
}

// newEntry begins an empty state in the index.
func (b *Backup) newEntry(rebuilding bool) error {
	id, err := b.set.nextID()
	if err != nil {
		return err
	}
	e := &entry{Partition: b.part.name, Kind: b.name.Kind, Name: b.name.Full, ID: id, Rebuilding: rebuilding}
	if err := b.set.index.Update(func(t *index.Txn) error { return writeEntry(t, b.path, e) }); err != nil {
		return err
	}
	b.entry, b.lock = e, lockUnknown
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
