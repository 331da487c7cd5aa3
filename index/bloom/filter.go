// Package bloom is a set that can tell that it lacks a key, in about ten bits a key.
package bloom

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// Filter is a blocked Bloom filter that grows. Has never returns false for a hash that was
// added; it returns true for about two in a hundred others. Its methods may be called from
// many goroutines. The caller provides uniform hashes.
type Filter struct {
	most   int64                    // bytes
	layers atomic.Pointer[[]*layer] // oldest first; the last one takes new hashes
	mu     sync.Mutex               // held while a layer is added
}

// layer is a filter of a fixed size.
type layer struct {
	blocks []block
	keys   atomic.Int64 // about how many were added
	room   int64        // of keys
}

// block has the size of a cache line. All bits of a hash are in one block.
type block [8]uint64

const (
	blockBytes = 64
	blockKeys  = 50 // ten bits a key
	bitsOfHash = 6
	// leastLayer is the memory of the smallest layer.
	leastLayer = 64 << 10
)

// New returns an empty filter for about this many keys. If more are added, it grows up to most
// bytes. After that, it returns true for more and more hashes that were not added.
func New(keys, most int64) *Filter {
	f := &Filter{most: most}
	f.layers.Store(&[]*layer{newLayer(min(keys/blockKeys*blockBytes, most))})
	return f
}

func newLayer(bytes int64) *layer {
	n := max(bytes, leastLayer) / blockBytes
	return &layer{blocks: make([]block, n), room: n * blockKeys}
}

// Add adds a hash.
func (f *Filter) Add(h uint64) {
	layers := *f.layers.Load()
	if has(layers, h) {
		return
	}
	last := layers[len(layers)-1]
	last.add(h)
	if n := last.keys.Add(1); n >= last.room {
		f.grow(last)
	}
}

// Has returns false if the hash was certainly not added.
func (f *Filter) Has(h uint64) bool { return has(*f.layers.Load(), h) }

// Bytes returns the memory of the filter.
func (f *Filter) Bytes() (n int64) {
	for _, l := range *f.layers.Load() {
		n += int64(len(l.blocks)) * blockBytes
	}
	return n
}

// grow adds a layer of twice the size, if memory allows and nobody else has added one.
func (f *Filter) grow(full *layer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	layers := *f.layers.Load()
	last := layers[len(layers)-1]
	size := min(2*int64(len(last.blocks))*blockBytes, f.most-f.Bytes())
	if last != full || size < leastLayer {
		return
	}
	more := append(layers[:len(layers):len(layers)], newLayer(size))
	f.layers.Store(&more)
}

func has(layers []*layer, h uint64) bool {
	for _, l := range layers {
		if l.has(h) {
			return true
		}
	}
	return false
}

// place returns the block of a hash, and a number that selects its bits.
func (l *layer) place(h uint64) (*block, uint64) {
	at, _ := bits.Mul64(h, uint64(len(l.blocks)))
	return &l.blocks[at], h * 0x9e3779b97f4a7c15 // the bits of h above are the same in the whole block
}

func (l *layer) add(h uint64) {
	b, sel := l.place(h)
	for range bitsOfHash {
		atomic.OrUint64(&b[sel>>61], 1<<(sel>>55&63))
		sel <<= 9
	}
}

func (l *layer) has(h uint64) bool {
	b, sel := l.place(h)
	for range bitsOfHash {
		if atomic.LoadUint64(&b[sel>>61])&(1<<(sel>>55&63)) == 0 {
			return false
		}
		sel <<= 9
	}
	return true
}
