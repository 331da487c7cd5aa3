package retry

import (
	"context"
	"iter"

	"github.com/cyrusbackup/backupd/objstore"
)

func (s *store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		after := startAfter
		list(ctx, s, yield, func() iter.Seq2[objstore.Info, error] { return s.under.List(ctx, prefix, after) },
			func(info objstore.Info) bool {
				after = info.Key
				return true
			})
	}
}

func (s *store) Noncurrent(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Version, error] {
	return func(yield func(objstore.Version, error) bool) {
		after, key := startAfter, "" // key: of the last version
		n, most := 0, 0              // versions of that key in this try, and in any try
		list(ctx, s, yield, func() iter.Seq2[objstore.Version, error] {
			n = 0
			return s.under.Noncurrent(ctx, prefix, after)
		}, func(v objstore.Version) (progress bool) {
			if v.Key != key {
				if key != "" {
					after = key
				}
				key, n, most = v.Key, 0, 0
			}
			n++
			progress = n > most
			most = max(n, most)
			return progress
		})
	}
}

// list yields the items of the list that begin returns, and calls begin again after a failure.
// noted is called before an item is yielded, and reports whether the item is new.
func list[T any](ctx context.Context, s *store, yield func(T, error) bool, begin func() iter.Seq2[T, error], noted func(T) bool) {
	t := s.newTry()
	for {
		failure, stopped := listOnce(begin(), func(item T) bool {
			if noted(item) {
				t = nil
			}
			return yield(item, nil)
		})
		if failure == nil || stopped {
			return
		}
		if t == nil { // progress: the time starts again
			t = s.newTry()
		}
		if err := t.again(ctx, failure); err != nil {
			var none T
			yield(none, err)
			return
		}
	}
}

// listOnce yields items until an error, the end, or the consumer stops.
func listOnce[T any](seq iter.Seq2[T, error], yield func(T) bool) (failure error, stopped bool) {
	for item, err := range seq {
		if err != nil {
			return err, false
		}
		if !yield(item) {
			return nil, true
		}
	}
	return nil, false
}
