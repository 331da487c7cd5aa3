package history

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/exactjson"
)

const (
	linesPerBlock = 4096
	// decodedLines is how many blocks of messages, or of places, are kept decoded.
	decodedLines = 8
)

// lineBlocks is a list of lines in order of arrival, with linesPerBlock arrivals per
// block, so that new lines change only the last block. Lines are found by the first eight
// bytes of their hash, the newest first.
type lineBlocks[T any] struct {
	ctx    context.Context // of the Mem
	source *blockSource
	kind   string
	parser func() func(line []byte) (T, error) // for the lines of a block, in order
	prefix func(T) uint64
	begins string // the beginning of a line, before the hash

	blocks   []*lineBlock
	arrivals uint64            // lines ever added
	table    *prefixTable      // of all blocks; nil until it is needed
	decoded  []decodedBlock[T] // latest first
	spare    []byte            // memory for the raw of the next block
	read     []byte            // the last block that was read
}

// lineBlock is a block of lines. A closed block has the bytes that ref describes, in the
// store or in packed. An open block has its bytes in raw.
type lineBlock struct {
	ref    BlockRef     // Block is arrivals / linesPerBlock
	packed *packedBlock // the bytes, if no object contains the block yet
	raw    []byte       // the bytes of the last block, which grows
	open   bool         // raw is newer than ref and packed
}

type decodedBlock[T any] struct {
	block *lineBlock
	lines []T
	table *prefixTable // of the lines
}

func guidPrefix(g cyrus.GUID) uint64 { return binary.BigEndian.Uint64(g[:8]) }
func chunkPrefix(c ChunkID) uint64   { return binary.BigEndian.Uint64(c[:8]) }

// add appends a line, which ends in a newline.
func (l *lineBlocks[T]) add(prefix uint64, line []byte) error {
	n := uint32(l.arrivals / linesPerBlock)
	b, err := l.last(n)
	if err != nil {
		return err
	}
	b.raw = append(b.raw, line...)
	b.ref = BlockRef{Block: n, Count: b.ref.Count + 1}
	b.open = true
	l.source.spill.drop(b.packed)
	l.undecode(b)
	l.arrivals++
	if l.table != nil {
		l.table.add(prefix, len(l.blocks)-1)
	}
	if l.arrivals%linesPerBlock == 0 {
		err = l.seal(b)
		b.raw, l.spare = nil, b.raw[:0]
	}
	return err
}

// last returns block n, the last one, with its bytes in raw.
func (l *lineBlocks[T]) last(n uint32) (*lineBlock, error) {
	if k := len(l.blocks); k == 0 || l.blocks[k-1].ref.Block != n {
		if k > maxPosition {
			return nil, fmt.Errorf("%w: %d blocks of %s", ErrTooLarge, k, l.kind)
		}
		l.blocks = append(l.blocks, &lineBlock{ref: BlockRef{Block: n}, open: true, raw: l.spare})
		l.spare = nil
	}
	b := l.blocks[len(l.blocks)-1]
	if b.raw == nil && !b.open {
		raw, err := l.bytes(b)
		if err != nil {
			return nil, err
		}
		b.raw = slices.Clone(raw)
	}
	return b, nil
}

// seal closes an open block: it updates ref and packed.
func (l *lineBlocks[T]) seal(b *lineBlock) (err error) {
	if !b.open {
		return nil
	}
	b.ref.SHA256, b.ref.Object = hashOf(b.raw), ""
	b.packed, err = l.source.spill.put(b.packed, b.raw)
	b.open = err != nil
	return err
}

// bytes returns the bytes of a block, which are valid until the next call.
func (l *lineBlocks[T]) bytes(b *lineBlock) ([]byte, error) {
	switch {
	case b.open || b.raw != nil:
		return b.raw, nil
	case b.packed != nil:
		return l.source.spill.get(b.packed)
	}
	raw, err := l.source.read(l.ctx, l.kind, b.ref, l.read)
	if err == nil {
		l.read = raw
	}
	return raw, err
}

// lines decodes a block.
func (l *lineBlocks[T]) lines(b *lineBlock) ([]T, error) {
	raw, err := l.bytes(b)
	if err != nil {
		return nil, err
	}
	return l.parseBlock(b.ref, raw)
}

func (l *lineBlocks[T]) parseBlock(ref BlockRef, raw []byte) ([]T, error) {
	out := make([]T, 0, max(0, min(ref.Count, linesPerBlock)))
	parse := l.parser()
	err := l.eachLine(ref, raw, func(line []byte) error {
		t, err := parse(line)
		out = append(out, t)
		return err
	})
	return out, err
}

// eachLine calls fn for each line of a block.
func (l *lineBlocks[T]) eachLine(ref BlockRef, raw []byte, fn func(line []byte) error) error {
	n := 0
	err := eachLineOf(raw, func(line []byte) error {
		n++
		return fn(line)
	})
	if err == nil && n != ref.Count {
		err = fmt.Errorf("%w: %d lines, want %d", ErrCorrupt, n, ref.Count)
	}
	if err != nil {
		return inObject(ref.Object, fmt.Errorf("%s block %d: %w", l.kind, ref.Block, err))
	}
	return nil
}

// cached is like lines, with a small cache and a table of the lines.
func (l *lineBlocks[T]) cached(b *lineBlock) (decodedBlock[T], error) {
	for i, d := range l.decoded {
		if d.block == b {
			copy(l.decoded[1:i+1], l.decoded[:i])
			l.decoded[0] = d
			return d, nil
		}
	}
	lines, err := l.lines(b)
	if err != nil {
		return decodedBlock[T]{}, err
	}
	d := decodedBlock[T]{b, lines, &prefixTable{entries: make([]uint64, 0, len(lines))}}
	for i, t := range lines {
		d.table.add(l.prefix(t), i)
	}
	l.decoded = slices.Insert(l.decoded, 0, d)
	l.decoded = l.decoded[:min(len(l.decoded), decodedLines)]
	return d, nil
}

func (l *lineBlocks[T]) undecode(b *lineBlock) {
	l.decoded = slices.DeleteFunc(l.decoded, func(d decodedBlock[T]) bool { return d.block == b })
}

// find yields the lines with the prefix, the newest first.
func (l *lineBlocks[T]) find(prefix uint64) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if err := l.buildTable(); err != nil {
			yield(none, err)
			return
		}
		for _, i := range l.table.find(prefix) {
			d, err := l.cached(l.blocks[i])
			if err != nil {
				yield(none, err)
				return
			}
			for _, at := range d.table.find(prefix) {
				if t := d.lines[at]; l.prefix(t) == prefix && !yield(t, nil) {
					return
				}
			}
		}
	}
}

// buildTable reads every block once.
func (l *lineBlocks[T]) buildTable() error {
	if l.table != nil {
		return nil
	}
	if len(l.blocks) > maxPosition {
		return fmt.Errorf("%w: %d blocks of %s", ErrTooLarge, len(l.blocks), l.kind)
	}
	lines := 0
	for _, b := range l.blocks {
		lines += min(b.ref.Count, linesPerBlock)
	}
	const most = 2 << 20 // the counts are not verified yet
	t := &prefixTable{entries: make([]uint64, 0, min(lines, most))}
	i := 0
	for b := range decodeInOrder(l.ctx, l.source, l.inOrder(), l.prefixesOf) {
		if b.err != nil {
			return b.err
		}
		for _, prefix := range b.v {
			t.add(prefix, i)
		}
		i++
	}
	t.sort()
	l.table = t
	return nil
}

// prefixesOf returns the first eight bytes of each line's hash.
func (l *lineBlocks[T]) prefixesOf(ref BlockRef, raw []byte) ([]uint64, error) {
	out := make([]uint64, 0, max(0, min(ref.Count, linesPerBlock)))
	err := l.eachLine(ref, raw, func(line []byte) error {
		prefix, err := l.prefixOf(line)
		out = append(out, prefix)
		return err
	})
	return out, err
}

// prefixOf returns the first eight bytes of a line's hash. It parses the line only if it is
// not in the form that this package writes.
func (l *lineBlocks[T]) prefixOf(line []byte) (uint64, error) {
	var b [8]byte
	s := scanner{exactjson.Over(line)}
	s.Want(l.begins)
	if s.Hex(b[:]); s.OK {
		return binary.BigEndian.Uint64(b[:]), nil
	}
	t, err := l.parser()(line)
	if err != nil {
		return 0, err
	}
	return l.prefix(t), nil
}

// all yields every line in order of arrival. It decodes blocks ahead of the loop.
func (l *lineBlocks[T]) all() iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for b := range decodeInOrder(l.ctx, l.source, l.inOrder(), l.parseBlock) {
			if b.err != nil {
				var none T
				yield(none, b.err)
				return
			}
			for _, t := range b.v {
				if !yield(t, nil) {
					return
				}
			}
		}
	}
}

// unseen is all without the blocks in seen, by their SHA-256, and adds its own blocks to that: the states of a backup
// share most of them.
func (l *lineBlocks[T]) unseen(seen map[string]bool) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for _, b := range l.blocks {
			if err := l.seal(b); err != nil {
				yield(none, err)
				return
			}
			if seen[b.ref.SHA256] {
				continue
			}
			list, err := l.lines(b)
			if err != nil {
				yield(none, inObject(b.ref.Object, err))
				return
			}
			for _, t := range list {
				if !yield(t, nil) {
					return
				}
			}
			seen[b.ref.SHA256] = true
		}
	}
}

// keep drops the lines for which keep returns false. It does not change other blocks.
func (l *lineBlocks[T]) keep(keep func(T) bool) (dropped bool, err error) {
	for _, b := range l.blocks {
		raw, err := l.bytes(b)
		if err != nil {
			return dropped, err
		}
		var left []byte
		count := 0
		parse := l.parser()
		err = eachLineOf(raw, func(line []byte) error {
			t, err := parse(line)
			if err == nil && keep(t) {
				left = append(append(left, line...), '\n')
				count++
			}
			return err
		})
		if err != nil {
			return dropped, inObject(b.ref.Object, err)
		}
		if count == b.ref.Count {
			continue
		}
		dropped = true
		last := b.raw != nil
		b.raw, b.open, b.ref = left, true, BlockRef{Block: b.ref.Block, Count: count}
		if err := l.seal(b); err != nil {
			return dropped, err
		}
		if !last {
			b.raw = nil
		}
	}
	if dropped {
		l.blocks = slices.DeleteFunc(l.blocks, func(b *lineBlock) bool { return b.ref.Count == 0 })
		l.table, l.decoded = nil, nil
	}
	return dropped, nil
}
