package erasure

import (
	"iter"
	"slices"

	"github.com/cyrusbackup/backupd/partitions/collection"
)

// merged yields the packs of sorted lists in order, each once.
func merged(lists []iter.Seq2[collection.Pack, error]) iter.Seq2[collection.Pack, error] {
	return func(yield func(collection.Pack, error) bool) {
		type head struct {
			next func() (collection.Pack, error, bool)
			at   collection.Pack
		}
		var heads []*head
		advance := func(h *head) (bool, error) {
			p, err, ok := h.next()
			h.at = p
			return ok, err
		}
		for _, l := range lists {
			next, stop := iter.Pull2(l)
			defer stop()
			h := &head{next: next}
			ok, err := advance(h)
			if err != nil {
				yield(collection.Pack{}, err)
				return
			}
			if ok {
				heads = append(heads, h)
			}
		}
		for len(heads) > 0 {
			least := slices.MinFunc(heads, func(a, b *head) int { return slices.Compare(a.at[:], b.at[:]) }).at
			if !yield(least, nil) {
				return
			}
			for i := 0; i < len(heads); {
				ok, err := true, error(nil)
				if heads[i].at == least {
					ok, err = advance(heads[i])
				}
				if err != nil {
					yield(collection.Pack{}, err)
					return
				}
				if ok {
					i++
				} else {
					heads = slices.Delete(heads, i, i+1)
				}
			}
		}
	}
}
