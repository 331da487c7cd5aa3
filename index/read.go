package index

import (
	"bytes"
	"errors"
	"runtime"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sync/errgroup"
)

// Value calls fn with the value of a key, or returns ErrNotFound. The value is valid only
// inside fn, which must not change it. Value returns the error of fn unchanged.
func (t *Txn) Value(k Key, fn func(value []byte) error) error {
	if t.Lacks(k) {
		return ErrNotFound
	}
	t.x.opt.OnRead(k)
	i, err := t.txn.Get(k)
	if err != nil {
		return wrap("get", k, err)
	}
	return valueOf(i, k, fn)
}

func valueOf(i *badger.Item, k Key, fn func([]byte) error) error {
	var own error
	err := i.Value(func(v []byte) error {
		own = fn(v)
		return nil
	})
	if err != nil {
		return wrap("read", k, err)
	}
	return own
}

// GetAll calls fn for each key that exists, in the order of the keys; i is the position in
// the list, which need not be sorted. The value is valid only inside fn, which must not
// change it. GetAll ends with the first error of fn and returns it unchanged.
//
// A list costs less per key than single reads: in key order, each block of a table is loaded
// once. Measured with a million keys: 46 µs per key for 500 keys, 5 µs for 100,000; a seeking
// iterator takes as long for existing keys and up to twice as long for missing ones, because
// it cannot use the tables' filters.
func (t *Txn) GetAll(keys []Key, fn func(i int, value []byte) error) error {
	order := inOrder(keys)
	for n := range keys {
		i := n
		if order != nil {
			i = int(order[n])
		}
		err := t.Value(keys[i], func(v []byte) error { return fn(i, v) })
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

const (
	// partLookups is how many lookups are worth a goroutine.
	partLookups = 512
	// mostParts bounds the goroutines.
	mostParts = 4
)

// InParallel divides n lookups over the processors: it calls fn for each part, from a goroutine
// if there are several. In a transaction that writes, there is one part. The first error of fn
// ends its part and is returned.
func (t *Txn) InParallel(n int, fn func(from, to int) error) error {
	parts := min(n/partLookups, mostParts, runtime.GOMAXPROCS(0))
	if t.writes || parts < 2 {
		return fn(0, n)
	}
	// Lookups change nothing in a transaction of Badger that only reads.
	var all errgroup.Group
	for i := range parts {
		all.Go(func() error { return fn(n*i/parts, n*(i+1)/parts) })
	}
	return all.Wait()
}

// inOrder returns the positions of the keys in ascending order, or nil if the list is sorted.
func inOrder(keys []Key) []int32 {
	if slices.IsSortedFunc(keys, func(a, b Key) int { return bytes.Compare(a, b) }) {
		return nil
	}
	order := make([]int32, len(keys))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return bytes.Compare(keys[a], keys[b]) })
	return order
}
