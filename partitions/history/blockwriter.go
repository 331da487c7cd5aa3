package history

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// blockObjectSize is the approximate size of an object with blocks: large enough that a
// big mailbox takes few requests, small enough for a buffer.
const blockObjectSize = 8 << 20

// blockPacker puts blocks into objects of a backup, several small blocks into each.
type blockPacker struct {
	store   objstore.Store
	backup  string
	options pack.Options
	w       *pack.Writer
	buf     []byte
	pending []string          // hashes of the blocks in w
	object  map[string]string // hash → key of the object with the block, after the put
	bytes   int64             // put so far
}

func newBlockPacker(s objstore.Store, backup string, o pack.Options) *blockPacker {
	return &blockPacker{store: s, backup: backup, options: o, object: make(map[string]string)}
}

// add adds a block. It is in the store after the next flush.
func (p *blockPacker) add(ctx context.Context, kind, sum string, raw []byte) error {
	if _, ok := p.object[sum]; ok {
		return nil // two mailboxes with the same records
	}
	if p.w == nil {
		p.w = pack.NewWriter(p.buf, p.options)
	}
	if err := p.w.Add(sum+"."+kind, raw); err != nil {
		return err
	}
	p.pending = append(p.pending, sum)
	p.object[sum] = ""
	if p.w.Len() >= blockObjectSize {
		return p.flush(ctx)
	}
	return nil
}

// flush puts the pending blocks. The put needs no condition: the key is the hash of the
// bytes, so every writer of the key puts the same bytes.
func (p *blockPacker) flush(ctx context.Context) error {
	if len(p.pending) == 0 {
		return nil
	}
	object, err := p.w.Finish()
	if err != nil {
		return err
	}
	key := RecordsKey(p.backup, sha256.Sum256(object))
	if _, err := p.store.Put(ctx, key, bytes.NewReader(object), objstore.PutOptions{}); err != nil {
		return err
	}
	p.bytes += int64(len(object))
	for _, sum := range p.pending {
		p.object[sum] = key
	}
	p.w, p.buf, p.pending = nil, object[:0], p.pending[:0]
	return nil
}

// RecordBlockWriter writes the records of a mailbox as blocks, before the commit with
// their RecordBlocksEvent. Not safe for concurrent use.
type RecordBlockWriter struct {
	packer *blockPacker
	refs   []BlockRef
	raw    []byte
	last   uint32
}

// NewRecordBlockWriter returns a writer to the records/ objects of the backup.
func NewRecordBlockWriter(s objstore.Store, backup string, o pack.Options) *RecordBlockWriter {
	return &RecordBlockWriter{packer: newBlockPacker(s, backup, o)}
}

// Add adds a record, in ascending order of uid. It puts an object when one is full.
func (w *RecordBlockWriter) Add(ctx context.Context, r *cyrus.Record) error {
	if r.UID <= w.last {
		return fmt.Errorf("record block: uid %d after uid %d", r.UID, w.last)
	}
	w.last = r.UID
	block := r.UID >> blockShift
	if n := len(w.refs); n == 0 || w.refs[n-1].Block != block {
		if err := w.end(ctx); err != nil {
			return err
		}
		w.refs = append(w.refs, BlockRef{Block: block})
	}
	line := (&RecordState{Record: *r}).append(w.raw)
	if len(line)-len(w.raw) > maxEvent || len(line) > maxBlockSize {
		return fmt.Errorf("%w: record %d of %d bytes, in a block of %d", ErrTooLarge, r.UID, len(line)-len(w.raw), len(line))
	}
	w.raw = append(line, '\n')
	w.refs[len(w.refs)-1].Count++
	return nil
}

func (w *RecordBlockWriter) end(ctx context.Context) error {
	if len(w.raw) == 0 {
		return nil
	}
	ref := &w.refs[len(w.refs)-1]
	ref.SHA256 = hashOf(w.raw)
	err := w.packer.add(ctx, recordBlocks, ref.SHA256, w.raw)
	w.raw = w.raw[:0]
	return err
}

// Finish puts the remaining blocks and returns all blocks for the event.
func (w *RecordBlockWriter) Finish(ctx context.Context) ([]BlockRef, error) {
	if err := w.end(ctx); err != nil {
		return nil, err
	}
	if err := w.packer.flush(ctx); err != nil {
		return nil, err
	}
	for i := range w.refs {
		w.refs[i].Object = w.packer.object[w.refs[i].SHA256]
	}
	return w.refs, nil
}
