package index

import "github.com/dgraph-io/badger/v4"

// arena holds what a transaction keeps until its commit: entries, and copies of their keys and
// values. It allocates many at a time.
type arena struct {
	entries []badger.Entry // unused
	slab    int            // size of the last slab of entries
	bytes   []byte         // with room for more
}

const (
	leastArena = 256
	mostArena  = 32 << 10
	mostSlab   = 256
)

// entry returns a new entry.
func (a *arena) entry(k Key, v []byte) *badger.Entry {
	if len(a.entries) == 0 {
		a.slab = min(2*a.slab+1, mostSlab)
		a.entries = make([]badger.Entry, a.slab)
	}
	e := &a.entries[0]
	a.entries = a.entries[1:]
	e.Key, e.Value = k, v
	return e
}

// copy returns a copy of b.
func (a *arena) copy(b []byte) []byte {
	if cap(a.bytes)-len(a.bytes) < len(b) {
		a.bytes = make([]byte, 0, max(len(b), min(max(2*cap(a.bytes), leastArena), mostArena)))
	}
	from := len(a.bytes)
	a.bytes = append(a.bytes, b...)
	return a.bytes[from:len(a.bytes):len(a.bytes)]
}
