package partitions

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// losses counts the losses of a partition: objects and chunks that its logs name and that its
// bucket can no longer return (index.LostKey). No new record refers to such a place, and
// each backup that depends on one is healed when it is next opened (heal.go).
type losses struct {
	mu  sync.Mutex                // held while marks are written
	now atomic.Pointer[lossCount] // nil = no losses
}

// lossCount is the value of index.LossesKey.
type lossCount struct {
	// Count increases when losses are found. A backup that was checked at a lower count may
	// depend on objects that were lost since then.
	Count uint64 `json:"count"`
	// Invalid is the Count at which the partition was last invalidated. A backup that was
	// checked at a lower count has to prove everything that it refers to.
	Invalid uint64 `json:"distrusted,omitempty"`
}

// Kinds of losses: the values of index.LostKey and index.LostChunkKey.
const (
	lossAbsent  = 'a' // the object does not exist; its chunks are lost until it exists again
	lossDamaged = 'd' // the object or chunk exists, but cannot be read
	lossOfChunk = 'c' // the key names a chunk, which has an index.LostChunkKey
)

// loss is an object, or a chunk in it, that cannot be read.
type loss struct {
	object [32]byte         // objectID
	chunk  *history.ChunkID // nil: the whole object
	how    byte
	// collected is the place, if collection has removed the entry: no loss, unless a backup
	// needs it.
	collected *history.Place
	// erased means that a person has erased the chunk from the backup.
	erased bool
}

func (l loss) key(partition string) index.Key {
	if l.chunk == nil {
		return index.LostKey(partition, l.object[:])
	}
	return index.LostChunkKey(partition, l.chunk[:], l.object[:])
}

// objectID identifies an object in the index. For a pack, it is the hash of the pack. For any
// other object, it is the SHA-256 of the key.
func objectID(key string) (id [32]byte) {
	if name, ok := strings.CutPrefix(key, "packs/"); ok && len(name) > 67 {
		if _, err := hex.Decode(id[:], []byte(name[3:67])); err == nil {
			return id
		}
	}
	return sha256.Sum256([]byte(key))
}

// lossCount returns the current count.
func (p *Partition) lossCount() lossCount {
	if c := p.losses.now.Load(); c != nil {
		return *c
	}
	return lossCount{}
}

// loadLosses reads the count that an earlier process stored in the index.
func (p *Partition) loadLosses() error {
	return p.set.index.View(func(t *index.Txn) error {
		b, err := t.Get(index.LossesKey(p.name))
		if errors.Is(err, index.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		c := new(lossCount)
		if err := json.Unmarshal(b, c); err != nil {
			return fmt.Errorf("index: losses of partition %s: %w", p.name, err)
		}
		p.losses.now.Store(c)
		return nil
	})
}

// noteLost marks losses and returns how many of them are new. If count is set, the other
// backups of the partition are searched for these losses too.
func (p *Partition) noteLost(list []loss, count bool) (added int, err error) {
	p.losses.mu.Lock()
	defer p.losses.mu.Unlock()
	for _, l := range list {
		if l.chunk == nil {
			p.proofs.drop(l.object) // an earlier proof is no longer valid
		}
	}
	next := p.lossCount()
	err = p.set.index.Update(func(t *index.Txn) error {
		for _, l := range list {
			k := l.key(p.name)
			if has, err := t.Has(k); has || err != nil {
				if err != nil {
					return err
				}
				continue
			}
			added++
			if err := t.Set(k, []byte{l.how}); err != nil {
				return err
			}
			if l.chunk == nil {
				continue
			}
			if err := t.Set(index.LostKey(p.name, l.chunk[:]), []byte{lossOfChunk}); err != nil {
				return err
			}
		}
		if added == 0 {
			return nil
		}
		if count || next.Count == 0 { // nobody reads the marks while Count is 0
			next.Count++
		}
		return p.writeLosses(t, next)
	})
	if err == nil {
		p.losses.now.Store(&next)
	}
	return added, err
}

// noteInvalid invalidates everything that is known about the partition.
func (p *Partition) noteInvalid() error {
	p.losses.mu.Lock()
	defer p.losses.mu.Unlock()
	p.epoch.Add(1)
	p.proofs.clear()
	n := p.lossCount().Count + 1
	next := lossCount{Count: n, Invalid: n}
	err := p.set.index.Update(func(t *index.Txn) error { return p.writeLosses(t, next) })
	if err == nil {
		p.losses.now.Store(&next)
	}
	return err
}

// noteFound removes the marks of absent objects that exist again.
func (p *Partition) noteFound(objects [][32]byte) error {
	return p.set.index.Update(func(t *index.Txn) error {
		for _, id := range objects {
			if err := t.Delete(index.LostKey(p.name, id[:])); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *Partition) writeLosses(t *index.Txn, c lossCount) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return t.Set(index.LossesKey(p.name), b)
}

// lost reports whether a chunk cannot be read from an object.
func (p *Partition) lost(t *index.Txn, c history.ChunkID, object [32]byte) (bool, error) {
	if p.lossCount().Count == 0 {
		return false, nil
	}
	if has, err := t.Has(index.LostKey(p.name, object[:])); has || err != nil {
		return has, err
	}
	how, err := t.Get(index.LostChunkKey(p.name, c[:], object[:]))
	if errors.Is(err, index.ErrNotFound) {
		return false, nil
	}
	// lossAbsent only records that the chunk was in an object that was lost as a whole.
	return err == nil && len(how) == 1 && how[0] == lossDamaged, err
}

// wasLost reports whether a chunk was lost at any place, even if it has another place now. A
// log may name only the lost place.
func (p *Partition) wasLost(t *index.Txn, c history.ChunkID) (bool, error) {
	return t.Has(index.LostKey(p.name, c[:]))
}

// noteDependent records that a chunk was in an object that is lost as a whole.
func (p *Partition) noteDependent(t *index.Txn, c history.ChunkID, object [32]byte) error {
	k := index.LostChunkKey(p.name, c[:], object[:])
	if has, err := t.Has(k); has || err != nil {
		return err
	}
	if err := t.Set(k, []byte{lossAbsent}); err != nil {
		return err
	}
	return t.Set(index.LostKey(p.name, c[:]), []byte{lossOfChunk})
}
