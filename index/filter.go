package index

import (
	"context"
	"errors"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/cyrusbackup/backupd/index/bloom"
)

// filter knows of most messages that the index lacks them, so that they are not looked up. It
// gets each SharedKey and MessageKey when a transaction sets it, before the commit, and never
// loses one: a key that is visible to a transaction is in the filter. A new process reads the
// keys of an existing index in the background. Until then the filter is not asked.
type filter struct {
	keys     *bloom.Filter // nil: no filter
	seed     maphash.Seed
	complete atomic.Bool
}

// startFilter makes the filter, before the first transaction.
func (x *Index) startFilter(ctx context.Context) {
	if x.opt.FilterMemory == 0 {
		return
	}
	keys := int64(0)
	if x.db != nil {
		for _, t := range x.db.Tables() {
			keys += int64(t.KeyCount)
		}
	}
	x.filter.keys, x.filter.seed = bloom.New(keys, x.opt.FilterMemory), maphash.MakeSeed()
	x.done.Go(func() { x.fillFilter(ctx) })
}

// filters reports whether the filter has the keys of this kind.
func filters(k Key) bool { return len(k) > 0 && (k[0] == prefixShared || k[0] == prefixMessage) }

func (f *filter) add(k Key) {
	if f.keys != nil && filters(k) {
		f.keys.Add(maphash.Bytes(f.seed, k))
	}
}

// lacks reports whether the index certainly lacks the key.
func (f *filter) lacks(k Key) bool {
	return filters(k) && f.complete.Load() && !f.keys.Has(maphash.Bytes(f.seed, k))
}

// Lacks reports whether the index certainly lacks a SharedKey or a MessageKey. It reads
// nothing, and returns false if it does not know.
func (t *Txn) Lacks(k Key) bool { return t.x.Lacks(k) }

// Lacks is Txn.Lacks at this moment, outside of a transaction.
func (x *Index) Lacks(k Key) bool { return x.filter.lacks(k) }

// filterAtOnce is the number of keys that are read in one transaction, so that the index can
// be closed soon.
const filterAtOnce = 1 << 15

// fillFilter adds the keys of the index to the filter. Keys that are set meanwhile are added
// by their transactions.
func (x *Index) fillFilter(ctx context.Context) {
	for _, prefix := range []Key{{prefixShared}, {prefixMessage}} {
		from := prefix
		for from != nil {
			next, err := x.fillPart(prefix, from)
			if err != nil && !errors.Is(err, ErrUnavailable) {
				x.log.Warn("the index is used without its filter of messages", "err", err)
				return
			}
			if err == nil {
				from = next
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(fillPause(err)):
			}
		}
	}
	x.filter.complete.Store(true)
}

// fillPause returns how long to wait before the next part.
func fillPause(err error) time.Duration {
	if err != nil {
		return time.Second // until the index is open again
	}
	return 0
}

// fillPart adds some keys under prefix, and returns the key to continue with, nil at the end.
func (x *Index) fillPart(prefix, from Key) (next Key, err error) {
	err = x.View(func(t *Txn) error {
		it := t.txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
		defer it.Close()
		n := 0
		for it.Seek(from); it.Valid(); it.Next() {
			if n++; n > filterAtOnce {
				next = it.Item().KeyCopy(nil)
				return nil
			}
			x.filter.add(it.Item().Key())
		}
		return nil
	})
	return next, err
}
