package history

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// cachedRecords limits the decoded records: about 6 MiB.
const cachedRecords = 16 << 10

// memBlock is block ref.Block of one mailbox. An unchanged block has the bytes that ref
// describes, in the store or in packed. A changed block is decoded.
type memBlock struct {
	ref     BlockRef
	packed  *packedBlock   // the bytes, if no object contains the block yet
	recs    []*RecordState // ascending; nil if not decoded
	changed bool           // recs are newer than ref and packed
	used    *list.Element  // in the cache, if decoded
}

// recordCache holds the most recently used blocks decoded.
type recordCache struct {
	ctx    context.Context // of the Mem
	source *blockSource
	used   list.List // of *memBlock, latest first
	count  int       // records in these blocks
	max    int
	buf    []byte // the last block that was encoded
	read   []byte // the last block that was read
}

// load decodes b, and marks it as the most recently used block.
func (c *recordCache) load(b *memBlock) error {
	if b.used != nil {
		c.used.MoveToFront(b.used)
		return nil
	}
	raw, err := c.raw(b)
	if err != nil {
		return err
	}
	if b.recs, err = parseBlock(raw, b.ref); err != nil {
		b.recs = nil
		return inObject(b.ref.Object, err)
	}
	c.keep(b)
	return c.shrink()
}

// raw returns the bytes of an unchanged block, which are valid until the next call.
func (c *recordCache) raw(b *memBlock) ([]byte, error) {
	switch {
	case b.ref.Object != "":
		raw, err := c.source.read(c.ctx, recordBlocks, b.ref, c.read)
		if err == nil {
			c.read = raw
		}
		return raw, err
	case b.packed != nil:
		return c.source.spill.get(b.packed)
	}
	return nil, nil // a new block
}

func (c *recordCache) keep(b *memBlock) {
	b.used = c.used.PushFront(b)
	c.count += len(b.recs)
}

// shrink drops decoded blocks until the cache is small enough. It keeps the most recently
// used block.
func (c *recordCache) shrink() error {
	for c.count > c.max && c.used.Len() > 1 {
		b := c.used.Back().Value.(*memBlock)
		if _, err := c.seal(b); err != nil {
			return err
		}
		c.forget(b)
	}
	return nil
}

// forget removes a block from the cache. The block must be sealed, or not be used again.
func (c *recordCache) forget(b *memBlock) {
	if b.used == nil {
		return
	}
	c.used.Remove(b.used)
	c.count -= len(b.recs)
	b.used, b.recs = nil, nil
}

// seal updates ref and packed of a changed block, and returns the bytes, which are valid
// until the next call. It returns nil for an unchanged block.
func (c *recordCache) seal(b *memBlock) ([]byte, error) {
	if !b.changed {
		return nil, nil
	}
	raw := appendBlock(c.buf[:0], b.recs)
	c.buf = raw
	var err error
	b.ref = BlockRef{Block: b.ref.Block, Count: len(b.recs), SHA256: hashOf(raw)}
	b.packed, err = c.source.spill.put(b.packed, raw)
	b.changed = err != nil
	return raw, err
}

// appendBlock appends the bytes of a block: the same records always give the same bytes.
func appendBlock(raw []byte, recs []*RecordState) []byte {
	for _, r := range recs {
		raw = append(r.append(raw), '\n')
	}
	return raw
}

// eachRecord reads the lines of a record block and checks them against ref. The records of
// a block share one allocation.
func eachRecord(raw []byte, ref BlockRef, fn func(*RecordState) error) error {
	var last uint32
	count := 0
	var j cyrus.JSONScanner
	slab := make([]RecordState, max(0, min(ref.Count, RecordsPerBlock)))
	err := eachLineOf(raw, func(line []byte) error {
		if count == len(slab) {
			return fmt.Errorf("%w: more than %d records", ErrCorrupt, ref.Count)
		}
		r := &slab[count]
		if err := r.read(line, &j); err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		if r.UID>>blockShift != ref.Block || r.UID <= last {
			return fmt.Errorf("%w: uid %d after %d in block %d", ErrCorrupt, r.UID, last, ref.Block)
		}
		last = r.UID
		count++
		return fn(r)
	})
	if err == nil && count != ref.Count {
		err = fmt.Errorf("%w: %d records, want %d", ErrCorrupt, count, ref.Count)
	}
	return err
}

func parseBlock(raw []byte, ref BlockRef) ([]*RecordState, error) {
	recs := make([]*RecordState, 0, min(ref.Count, RecordsPerBlock))
	err := eachRecord(raw, ref, func(r *RecordState) error {
		recs = append(recs, r)
		return nil
	})
	return recs, err
}

func byBlock(b *memBlock, n uint32) int       { return cmp.Compare(b.ref.Block, n) }
func byUID(r *RecordState, uid uint32) int    { return cmp.Compare(r.UID, uid) }
func (b *memMailbox) at(n uint32) (int, bool) { return slices.BinarySearchFunc(b.blocks, n, byBlock) }
func (b *memBlock) at(uid uint32) (int, bool) { return slices.BinarySearchFunc(b.recs, uid, byUID) }

// Record implements State.
func (m *Mem) Record(uniqueid string, uid uint32) (*RecordState, error) {
	if err := m.whole(); err != nil {
		return nil, err
	}
	b, ok := m.mailboxes[uniqueid]
	if !ok {
		return nil, nil
	}
	i, ok := b.at(uid >> blockShift)
	if !ok {
		return nil, nil
	}
	if err := m.cache.load(b.blocks[i]); err != nil {
		return nil, err
	}
	j, ok := b.blocks[i].at(uid)
	if !ok {
		return nil, nil
	}
	return b.blocks[i].recs[j], nil
}

// Records implements State. It holds a few blocks in addition to the cache.
func (m *Mem) Records(uniqueid string, from uint32) iter.Seq2[*RecordState, error] {
	return func(yield func(*RecordState, error) bool) {
		if err := m.whole(); err != nil {
			yield(nil, err)
			return
		}
		b, ok := m.mailboxes[uniqueid]
		if !ok {
			return
		}
		ahead := recordsAhead{cache: &m.cache}
		defer ahead.end()
		for next := uint64(from >> blockShift); ; { // a number, since the loop body may add and drop blocks
			i, _ := b.at(uint32(next))
			if i == len(b.blocks) {
				return
			}
			block := b.blocks[i]
			if err := ahead.load(block); err != nil {
				yield(nil, err)
				return
			}
			if next > uint64(from>>blockShift) { // the loop may want only the first block
				ahead.start(b.blocks[i+1:])
			}
			for _, r := range slices.Clone(block.recs) {
				if r.UID >= from && !yield(r, nil) {
					return
				}
			}
			if next = uint64(block.ref.Block) + 1; next > 1<<(32-blockShift)-1 {
				return
			}
		}
	}
}

// PutRecord implements State.
func (m *Mem) PutRecord(uniqueid string, r *RecordState) error {
	b, ok := m.mailboxes[uniqueid]
	if !ok {
		return fmt.Errorf("record %d: mailbox %q is not in the state", r.UID, uniqueid)
	}
	i, ok := b.at(r.UID >> blockShift)
	if !ok {
		b.blocks = slices.Insert(b.blocks, i, &memBlock{ref: BlockRef{Block: r.UID >> blockShift}})
	}
	block := b.blocks[i]
	if err := m.cache.load(block); err != nil {
		return err
	}
	m.change(block)
	j, ok := block.at(r.UID)
	if ok {
		block.recs[j] = r
		return nil
	}
	block.recs = slices.Insert(block.recs, j, r)
	m.cache.count++
	return m.cache.shrink()
}

// change marks a decoded block as changed, and drops its old bytes.
func (m *Mem) change(b *memBlock) {
	b.changed = true
	m.source.spill.drop(b.packed)
}

// DropRecord implements State.
func (m *Mem) DropRecord(uniqueid string, uid uint32) error {
	old, err := m.Record(uniqueid, uid)
	if err != nil || old == nil {
		return err
	}
	b := m.mailboxes[uniqueid]
	i, _ := b.at(uid >> blockShift)
	block := b.blocks[i]
	j, _ := block.at(uid)
	m.change(block)
	block.recs = slices.Delete(block.recs, j, j+1)
	m.cache.count--
	if len(block.recs) == 0 {
		m.cache.forget(block)
		b.blocks = slices.Delete(b.blocks, i, i+1)
	}
	return nil
}
