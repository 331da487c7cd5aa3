package collection

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

const (
	// orphanAge is how old an unused pack must be: a client may stage messages in it that no
	// commit names yet.
	orphanAge = 7 * 24 * time.Hour
	// condemnedAge is how long a pack must have been condemned before the count that finds it
	// unused again. A writer that has read the list before commits within little more than
	// an hour, or reads it again before its client gets an OK (partitions, late.go).
	condemnedAge = 24 * time.Hour
	// listAge is how long condemned.json must have been unchanged before that count: a put
	// of the list may have arrived much later than the time in it.
	listAge = 2 * time.Hour
)

// sorted is what a pass does with the packs of the partition.
type sorted struct {
	condemn []Pack
	sparse  []Pack // condemned although they are used
	remove  []objstore.Info
	rewrite []objstore.Info      // used, although it was condemned
	absent  map[string]time.Time // keys on the list that do not exist, with their Since
	// erased are the keys in remove and rewrite of packs with erased bodies.
	erased map[string]bool
	// rewritten are the keys in rewrite of packs that an earlier pass has rewritten.
	rewritten map[string]bool
	free      map[string]bool      // the keys in rewrite that do not count against the limit
	since     map[string]time.Time // of the packs on the list
}

// listed reports whether a pack was on the list when the pass began.
func (s *sorted) listed(key string) bool {
	_, on := s.since[key]
	return on
}

// sorter sorts the packs.
type sorter struct {
	*pass
	do        *sorted
	used      *ordered
	erase     *erasing
	keep      *erasing
	keepAll   bool
	sparse    *sparse
	removable bool // the list has not changed lately
}

// sortPacks lists the packs, beside those that are used, and decides about each.
func (p *pass) sortPacks(ctx context.Context, used iter.Seq2[packUse, error], list *history.Condemned, listed objstore.Info) (*sorted, error) {
	out := &sorted{absent: map[string]time.Time{}, erased: map[string]bool{}, rewritten: map[string]bool{}, free: map[string]bool{}, since: map[string]time.Time{}}
	keep, keepAll, err := p.kept(ctx)
	if err != nil {
		return nil, err
	}
	err = p.withTotals(func(totals *usageSet) (*sparse, error) {
		s := &sorter{pass: p, do: out, used: inOrder(used), erase: beginErasing(p.opt.Erase), keep: beginErasing(keep), keepAll: keepAll,
			sparse: p.newSparse(totals), removable: listed.Modified.Add(listAge).Before(p.began)}
		defer s.used.stop()
		defer s.erase.stop()
		defer s.keep.stop()
		for _, c := range list.Packs {
			out.since[c.Key], out.absent[c.Key] = c.Since, c.Since
		}
		for info, err := range p.store.List(ctx, packPrefix, "") {
			if err == nil {
				err = s.sort(info)
			}
			if err != nil {
				return s.sparse, err
			}
		}
		if p.out.Blocking > 0 {
			return s.sparse, nil
		}
		var err error
		out.sparse, err = s.sparse.choose(ctx, MostCondemned-len(out.since)-len(out.condemn))
		return s.sparse, err
	})
	return out, err
}

// kept returns the packs that are not rewritten.
func (p *pass) kept(ctx context.Context) (packs iter.Seq2[Pack, error], all bool, err error) {
	if p.opt.Keep == nil {
		return nil, false, nil
	}
	return p.opt.Keep(ctx)
}

// sort decides about a pack. Calls are in order.
func (s *sorter) sort(info objstore.Info) error {
	id, ok := packOf(info.Key)
	if !ok {
		return nil
	}
	use, used := s.used.find(id)
	erased, err := s.erase.has(id)
	kept, kerr := s.keep.has(id)
	kept = kept || s.keepAll
	if err = errors.Join(err, kerr, s.used.err); err != nil {
		return err
	}
	delete(s.do.absent, info.Key)
	s.out.All.add(info.Size)
	at, condemned := s.do.since[info.Key]
	due := condemned && s.removable && at.Add(age(erased)).Before(s.began) && !at.IsZero()
	old := !info.Modified.IsZero() && info.Modified.Add(orphanAge).Before(s.began)
	switch {
	case used:
		s.out.Used.add(info.Size)
		if !condemned && old && !kept {
			return s.sparse.consider(info, use)
		}
		if condemned {
			s.rewriteLater(info, due && !kept, erased)
		}
	case condemned:
		s.out.Condemned.add(info.Size)
		if due {
			s.do.remove = append(s.do.remove, info)
			s.do.erased[info.Key] = erased
		}
	case !old || len(s.do.condemn)+len(s.do.since) >= MostCondemned:
		s.out.Young.add(info.Size)
	default:
		s.do.condemn = append(s.do.condemn, id)
		s.out.Condemning.add(info.Size)
	}
	return nil
}

// rewriteLater notes a used pack on the list.
func (s *sorter) rewriteLater(info objstore.Info, due, erased bool) {
	s.out.Sparse.add(info.Size)
	s.sparse.left -= info.Size
	if !due {
		return
	}
	s.do.rewrite = append(s.do.rewrite, info)
	if erased {
		s.do.erased[info.Key] = true
	}
}
