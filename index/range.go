package index

import (
	"bytes"
	"iter"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// Range yields the entries under prefix in key order, starting at the key `from` (nil: at
// the first). An entry is valid until the loop continues. The loop may read and, in a
// transaction that writes, write: entries that it adds may be missing.
func (t *Txn) Range(prefix, from Key) iter.Seq2[Entry, error] {
	if t.writes {
		return t.inBatches(prefix, from)
	}
	return func(yield func(Entry, error) bool) {
		it := t.iterator(prefix)
		defer it.Close()
		for it.Seek(start(prefix, from)); it.Valid(); it.Next() {
			more := true
			i := it.Item()
			err := valueOf(i, i.Key(), func(v []byte) error {
				more = yield(Entry{i.Key(), v}, nil)
				return nil
			})
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if !more {
				return
			}
		}
	}
}

const (
	batch      = 4096    // entries that inBatches reads at a time
	batchBytes = 1 << 20 // bytes after which it stops earlier
)

// inBatches yields the entries with no iterator open, so that the caller may write and a
// long transaction may be committed meanwhile.
func (t *Txn) inBatches(prefix, from Key) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var part entryBatch
		for {
			more, err := t.fill(&part, prefix, from)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for i := range part.ends {
				if !yield(part.entry(i), nil) {
					return
				}
			}
			if !more {
				return
			}
			from = append(slices.Clone(part.entry(len(part.ends)-1).Key), 0)
		}
	}
}

// entryBatch holds copies of entries in one buffer.
type entryBatch struct {
	buf  []byte
	ends [][2]int // where the key and the value of each entry end in buf
}

func (b *entryBatch) entry(i int) Entry {
	begin := 0
	if i > 0 {
		begin = b.ends[i-1][1]
	}
	k, v := b.ends[i][0], b.ends[i][1]
	return Entry{b.buf[begin:k:k], b.buf[k:v:v]}
}

// fill replaces the contents of b with the entries from a key on. more is false at the end.
func (t *Txn) fill(b *entryBatch, prefix, from Key) (more bool, err error) {
	b.buf, b.ends = b.buf[:0], b.ends[:0]
	it := t.iterator(prefix)
	defer it.Close()
	for it.Seek(start(prefix, from)); it.Valid(); it.Next() {
		if len(b.ends) >= batch || len(b.buf) >= batchBytes {
			return true, nil
		}
		i := it.Item()
		b.buf = append(b.buf, i.Key()...)
		key := len(b.buf)
		err := valueOf(i, i.Key(), func(v []byte) error {
			b.buf = append(b.buf, v...)
			return nil
		})
		if err != nil {
			return false, err
		}
		b.ends = append(b.ends, [2]int{key, len(b.buf)})
	}
	return false, nil
}

// iterator returns an iterator over the entries under prefix. Badger's prefetching starts a
// goroutine for each value, which helps only with values outside the tables.
func (t *Txn) iterator(prefix Key) *badger.Iterator {
	t.x.opt.OnRead(prefix)
	return t.txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
}

func start(prefix, from Key) Key {
	if from == nil || bytes.Compare(from, prefix) < 0 {
		return prefix
	}
	return from
}

// Scan is Range with entries that remain valid.
func (t *Txn) Scan(prefix, from Key) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range t.Range(prefix, from) {
			if !yield(Entry{slices.Clone(e.Key), bytes.Clone(e.Value)}, err) || err != nil {
				return
			}
		}
	}
}

// Keys yields at most n keys under prefix that come after the key `after`. They remain valid.
func (t *Txn) Keys(prefix, after Key, n int) iter.Seq2[Key, error] {
	if after != nil {
		after = append(slices.Clone(after), 0)
	}
	keys := t.keys(prefix, after, n)
	return func(yield func(Key, error) bool) {
		for _, k := range keys {
			if !yield(k, nil) {
				return
			}
		}
	}
}

func (t *Txn) keys(prefix, from Key, n int) (out []Key) {
	it := t.iterator(prefix)
	defer it.Close()
	for it.Seek(start(prefix, from)); it.Valid() && len(out) < n; it.Next() {
		out = append(out, it.Item().KeyCopy(nil))
	}
	return out
}
