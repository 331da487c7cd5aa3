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

	mu      sync.Mutex
	pending bool // a checkpoint is asked for
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
	Time   time.Time `json:"time"` // store time in that commit
	// Applying is the commit that is being applied in parts; 0 = none.
	Applying uint64 `json:"applying,omitempty"`
	// Proven is the store time at which Number was known to be the newest.
	Proven time.Time `json:"proven"`
	// What lies behind the newest checkpoint.
	Checkpoint uint64 `json:"checkpoint,omitempty"`
	LogBytes   int64  `json:"log_bytes"`
	Sealed     bool   `json:"sealed,omitempty"`
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

// errSealed: the log of the backup has ended.
var errSealed = errors.New("the backup is sealed: it was moved or erased, see ctl_backups(8)")

// refresh brings the index up to the bucket: after nil, entry shows the newest
// commit, or is nil because no partition holds the backup. The turn is held.
// Steady state: one HEAD, of the commit that would be next.
func (b *Backup) refresh(ctx context.Context) error {
	if err := b.find(ctx); err != nil || b.entry == nil {
		return err
	}
	if b.entry.Applying != 0 {
		if err := b.redo(ctx); err != nil {
			return err
		}
	}
	now := b.part.clock.now(b.set.opt.Now())
	if b.entry.Number > 0 && now.Sub(b.entry.Proven) > provenFor {
		if there, _, err := b.exists(ctx, b.entry.Number); err != nil {
			return err
		} else if !there {
			b.set.log.Warn("the bucket lacks the newest commit that the index knows: the index of this backup is rebuilt",
				"backup", b.path, "number", b.entry.Number)
			if err := b.rebuild(ctx); err != nil {
				return err
			}
		}
	}
	if err := b.catchUp(ctx); err != nil {
		return err
	}
	if b.entry.Sealed {
		return errSealed
	}
	return nil
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
		if err := b.applyFromBucket(ctx, b.entry.Number+1, size, false); err != nil {
			return err
		}
	}
}

// find makes part and entry known, from the index or from the buckets.
func (b *Backup) find(ctx context.Context) error {
	if b.entry != nil {
		return nil
	}
	e, err := b.set.readEntry(b.path)
	if err != nil {
		return err
	}
	if e != nil {
		if p := b.set.partition(e.Partition); p != nil {
			// The index is believed only for the repository that it was made from.
			if _, err := p.repository(ctx, false); err != nil {
				return err
			}
			if e, err = b.set.readEntry(b.path); err != nil {
				return err
			}
			if e != nil {
				b.part, b.entry = p, e
				return nil
			}
		}
	}
	p, err := b.set.locate(ctx, b.name)
	if err != nil || p == nil {
		return err
	}
	b.part = p
	return b.rebuild(ctx)
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
	b.part = in
	return b.newEntry()
}

// newEntry begins an empty state in the index.
func (b *Backup) newEntry() error {
	id, err := b.set.nextID()
	if err != nil {
		return err
	}
	e := &entry{Partition: b.part.name, Kind: b.name.Kind, Name: b.name.Full, ID: id}
	if err := b.set.index.Update(func(t *index.Txn) error { return writeEntry(t, b.path, e) }); err != nil {
		return err
	}
	b.entry = e
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
