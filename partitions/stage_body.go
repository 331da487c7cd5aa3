package partitions

import (
	"math/bits"
	"sync"
)

// bodyBlock is memory for the bodies of staged messages: several small ones, or a large one.
type bodyBlock struct {
	b    []byte
	used int
	refs int // messages that use it
}

// bodyBlocks keeps blocks for reuse. The garbage collector frees unused blocks.
type bodyBlocks struct{ pools [blockClasses]sync.Pool }

const (
	// smallBlock is the size of the smallest blocks. Each class of blocks has twice the size
	// of the one before.
	smallBlock   = 64 << 10
	blockClasses = 5
)

// blockClass returns the class of the smallest blocks for a body, or blockClasses if it is larger
// than all.
func blockClass(size int64) int {
	if size <= smallBlock {
		return 0
	}
	return min(bits.Len64(uint64(size-1)/smallBlock), blockClasses)
}

// capacity returns the size of the block that get returns.
func (*bodyBlocks) capacity(size int64) int64 {
	if c := blockClass(size); c < blockClasses {
		return smallBlock << c
	}
	return size
}

// get returns an empty block for a body of this size.
func (p *bodyBlocks) get(size int64) *bodyBlock {
	if c := blockClass(size); c < blockClasses {
		if b, ok := p.pools[c].Get().(*bodyBlock); ok {
			return b
		}
	}
	return &bodyBlock{b: make([]byte, p.capacity(size))}
}

// put takes back a block that nothing uses any more.
func (p *bodyBlocks) put(b *bodyBlock) {
	b.used, b.refs = 0, 0
	if c := blockClass(int64(len(b.b))); c < blockClasses {
		p.pools[c].Put(b)
	}
}

// take returns the next n bytes of the block, or nil if it has less room.
func (b *bodyBlock) take(n int64) []byte {
	if int64(len(b.b)-b.used) < n {
		return nil
	}
	at := b.used
	b.used += int(n)
	return b.b[at:b.used:b.used]
}
