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

// losses counts what a partition has lost: objects and chunks that its logs name and its
// bucket cannot give any more (index.LostKey). No record gets such a place, and each
// backup that depends on one is healed when it is next opened (heal.go).
type losses struct {
	mu  sync.Mutex                // held over writing marks
	now atomic.Pointer[lossCount] // nil: none
}

// lossCount is what the index keeps under LossesKey.
type lossCount struct {
	// Count goes up with each loss that is found. A backup that was checked against an
	// older count may depend on objects that were lost since.
	Count uint64 `json:"count"`
	// Invalid is the count at which nothing of the partition was believed any longer: a
	// backup that was checked before has to prove everything that it refers to.
	Invalid uint64 `json:"distrusted,omitempty"`
}

// How something is lost: the value of index.LostKey and index.LostChunkKey.
const (
	lossAbsent  = 'a' // the object does not exist; its chunks are lost as long as that is so
	lossDamaged = 'd' // it exists, and cannot be read
	lossOfChunk = 'c' // the key is of a chunk: there is an index.LostChunkKey of it
)

// loss is an object, or a chunk in it, that cannot be read.
type loss struct {
	object [32]byte         // objectID
	chunk  *history.ChunkID // nil: the whole object
	how    byte
}

func (l loss) key(partition string) index.Key {
	if l.chunk == nil {
		return index.LostKey(partition, l.object[:])
	}
	return index.LostChunkKey(partition, l.chunk[:], l.object[:])
}

// objectID names an object in the index: a pack by its own hash.
func objectID(key string) (id [32]byte) {
	if name, ok := strings.CutPrefix(key, "packs/"); ok && len(name) > 67 {
		if _, err := hex.Decode(id[:], []byte(name[3:67])); err == nil {
			return id
		}
	}
	return sha256.Sum256([]byte(key))
}

// lossCount is the count as of now.
func (p *Partition) lossCount() lossCount {
	if c := p.losses.now.Load(); c != nil {
		return *c
	}
	return lossCount{}
}

// loadLosses reads the count of an earlier life.
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

// noteLost marks losses, and returns how many of them were not marked yet.
// With count the other backups of the partition are checked for it, too.
func (p *Partition) noteLost(list []loss, count bool) (added int, err error) {
	p.losses.mu.Lock()
	defer p.losses.mu.Unlock()
	for _, l := range list {
		if l.chunk == nil {
			p.proofs.drop(l.object) // that it was seen before proves nothing any more
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
		if count || next.Count == 0 { // while it is 0 no mark is looked for
			next.Count++
		}
		return p.writeLosses(t, next)
	})
	if err == nil {
		p.losses.now.Store(&next)
	}
	return added, err
}

// noteInvalid makes everything count for nothing that was known of the partition.
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

// noteFound removes the marks of objects that were absent and are there again.
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
	// A mark "absent" only records who depended on an object that was lost as a whole.
	return err == nil && len(how) == 1 && how[0] == lossDamaged, err
}

// wasLost reports whether a chunk was lost in some place, wherever it lies by now: a log may
// name that place alone.
func (p *Partition) wasLost(t *index.Txn, c history.ChunkID) (bool, error) {
	return t.Has(index.LostKey(p.name, c[:]))
}

// noteDependent keeps in mind that a chunk lay in an object that is lost as a whole.
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
