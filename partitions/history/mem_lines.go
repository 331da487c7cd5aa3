package history

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
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
	parse  func(line []byte) (T, error)
	prefix func(T) uint64

	blocks   []*lineBlock
	arrivals uint64 // lines ever added
	index    []indexed
	built    bool              // index is complete
	sorted   bool              // index is sorted
	decoded  []decodedBlock[T] // latest first
}

// lineBlock is a block of lines. A closed block has the bytes that ref describes, in the
// store or in packed. An open block has its bytes in raw.
type lineBlock struct {
	ref    BlockRef     // Block is arrivals / linesPerBlock
	packed *packedBlock // the bytes, if no object contains the block yet
	raw    []byte       // the bytes of the last block, which grows
	open   bool         // raw is newer than ref and packed
}

type indexed struct {
	prefix uint64
	block  uint32
}

type decodedBlock[T any] struct {
	block *lineBlock
	lines []T
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
	if l.built {
		l.index = append(l.index, indexed{prefix, n})
		l.sorted = false
	}
	if l.arrivals%linesPerBlock == 0 {
		err = l.seal(b)
		b.raw = nil
	}
	return err
}

// last returns block n, the last one, with its bytes in raw.
func (l *lineBlocks[T]) last(n uint32) (*lineBlock, error) {
	if k := len(l.blocks); k == 0 || l.blocks[k-1].ref.Block != n {
		l.blocks = append(l.blocks, &lineBlock{ref: BlockRef{Block: n}, open: true})
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

func (l *lineBlocks[T]) bytes(b *lineBlock) ([]byte, error) {
	switch {
	case b.open || b.raw != nil:
		return b.raw, nil
	case b.packed != nil:
		return l.source.spill.get(b.packed)
	}
	return l.source.read(l.ctx, l.kind, b.ref)
}

// lines decodes a block.
func (l *lineBlocks[T]) lines(b *lineBlock) ([]T, error) {
	raw, err := l.bytes(b)
	if err != nil {
		return nil, err
	}
	out := make([]T, 0, min(b.ref.Count, linesPerBlock))
	err = newLines(bytes.NewReader(raw)).each(func(line []byte) error {
		t, err := l.parse(line)
		out = append(out, t)
		return err
	})
	if err == nil && len(out) != b.ref.Count {
		err = fmt.Errorf("%w: %d lines, want %d", ErrCorrupt, len(out), b.ref.Count)
	}
	if err != nil {
		return nil, inObject(b.ref.Object, fmt.Errorf("%s block %d: %w", l.kind, b.ref.Block, err))
	}
	return out, nil
}

// cachedLines is like lines, with a small cache.
func (l *lineBlocks[T]) cachedLines(b *lineBlock) ([]T, error) {
	for i, d := range l.decoded {
		if d.block == b {
			copy(l.decoded[1:i+1], l.decoded[:i])
			l.decoded[0] = d
			return d.lines, nil
		}
	}
	lines, err := l.lines(b)
	if err != nil {
		return nil, err
	}
	l.decoded = slices.Insert(l.decoded, 0, decodedBlock[T]{b, lines})
	l.decoded = l.decoded[:min(len(l.decoded), decodedLines)]
	return lines, nil
}

func (l *lineBlocks[T]) undecode(b *lineBlock) {
	l.decoded = slices.DeleteFunc(l.decoded, func(d decodedBlock[T]) bool { return d.block == b })
}

// find yields the lines with the prefix, the newest first.
func (l *lineBlocks[T]) find(prefix uint64) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if err := l.buildIndex(); err != nil {
			yield(none, err)
			return
		}
		from, _ := slices.BinarySearchFunc(l.index, prefix, func(x indexed, p uint64) int { return cmp.Compare(x.prefix, p) })
		for i := from; i < len(l.index) && l.index[i].prefix == prefix; i++ {
			if i > from && l.index[i] == l.index[i-1] {
				continue // two lines with this prefix in one block
			}
			lines, err := l.blockLines(l.index[i].block)
			if err != nil {
				yield(none, err)
				return
			}
			for _, t := range slices.Backward(lines) {
				if l.prefix(t) == prefix && !yield(t, nil) {
					return
				}
			}
		}
	}
}

func (l *lineBlocks[T]) blockLines(n uint32) ([]T, error) {
	i, ok := slices.BinarySearchFunc(l.blocks, n, func(b *lineBlock, n uint32) int { return cmp.Compare(b.ref.Block, n) })
	if !ok {
		return nil, nil
	}
	return l.cachedLines(l.blocks[i])
}

// buildIndex reads every block once, and then keeps 16 bytes in memory for each line.
func (l *lineBlocks[T]) buildIndex() error {
	if !l.built {
		l.index = l.index[:0]
		for _, b := range l.blocks {
			lines, err := l.lines(b)
			if err != nil {
				return err
			}
			for _, t := range lines {
				l.index = append(l.index, indexed{l.prefix(t), b.ref.Block})
			}
		}
		l.built, l.sorted = true, false
	}
	if !l.sorted {
		slices.SortFunc(l.index, func(a, b indexed) int {
			return cmp.Or(cmp.Compare(a.prefix, b.prefix), cmp.Compare(b.block, a.block))
		})
		l.sorted = true
	}
	return nil
}

// all yields every line in order of arrival.
func (l *lineBlocks[T]) all() iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, b := range slices.Clone(l.blocks) {
			lines, err := l.lines(b)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, t := range lines {
				if !yield(t, nil) {
					return
				}
			}
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
		err = newLines(bytes.NewReader(raw)).each(func(line []byte) error {
			t, err := l.parse(line)
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
		l.index, l.built, l.decoded = nil, false, nil
	}
	return dropped, nil
}
