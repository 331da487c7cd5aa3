package collection

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// If clearly less than half of a pack is named, it is condemned, so that a later pass rewrites it.
// How much is named is an estimate, from the uses of all backups: messages that several backups share
// may count several times, so that a sparse pack may be missed. An estimate never decides which
// entries are copied.
//
// While a pack is condemned, a client that copies one of its messages has to send it again. So no
// more packs are condemned than the next pass can rewrite.

const (
	// rewriteGain is how many bytes the rewrite of a pack has to save, unless Options say otherwise.
	rewriteGain = 1 << 20
	// mostLearned is how many directories of packs a pass reads. Their numbers of entries are then
	// in the cache.
	mostLearned = 512
	// mostSparse is how many packs are compared with each other.
	mostSparse = 1 << 13
	// totalsName is the only record in the cache of the numbers of entries.
	totalsName = "totals"
)

// candidate is a used pack.
type candidate struct {
	info  objstore.Info
	id    Pack
	named uint64 // entries
	total uint64 // entries; 0 = unknown
	rank  int64
}

// sparse chooses packs to be condemned.
type sparse struct {
	*pass
	known *ordered  // numbers of entries from the cache
	fresh *usageSet // for the next pass
	found *ranked   // mostly dead
	ask   *ranked   // packs whose number of entries is unknown
	small smallPacks
	left  int64 // bytes of packs that may be condemned
}

// ranked keeps the candidates of the highest rank.
type ranked struct {
	most int
	list []candidate
}

func (r *ranked) add(c candidate) {
	if r.list = append(r.list, c); len(r.list) == 2*r.most {
		r.best()
	}
}

// best returns the candidates in the order of their rank.
func (r *ranked) best() []candidate {
	slices.SortFunc(r.list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.rank, a.rank), comparePacks(a.id, b.id))
	})
	r.list = r.list[:min(len(r.list), r.most)]
	return r.list
}

// ordered looks up packs in order.
type ordered struct {
	next func() (packUse, error, bool)
	stop func()
	at   packUse
	err  error
	more bool
}

func inOrder(packs iter.Seq2[packUse, error]) *ordered {
	o := &ordered{}
	o.next, o.stop = iter.Pull2(packs)
	o.at, o.err, o.more = o.next()
	return o
}

func (o *ordered) find(p Pack) (packUse, bool) {
	for o.err == nil && o.more && comparePacks(o.at.Pack, p) < 0 {
		o.at, o.err, o.more = o.next()
	}
	return o.at, o.err == nil && o.more && o.at.Pack == p
}

func (p *pass) newSparse(totals *usageSet) *sparse {
	return &sparse{pass: p, known: inOrder(ofAll(totals)), fresh: newUsageSet(packsOfBackup), found: &ranked{most: mostSparse}, ask: &ranked{most: mostLearned}, left: p.opt.RewriteLimit}
}

func (s *sparse) close() error {
	s.known.stop()
	return s.fresh.close()
}

// consider looks at a used pack that is not on the list. Calls are in order.
func (s *sparse) consider(info objstore.Info, u packUse) error {
	s.small.add(info, u, s.opt.PackSize)
	c := candidate{info: info, id: u.Pack, named: u.entries}
	t, ok := s.known.find(u.Pack)
	if !ok {
		c.rank = info.Size / int64(min(u.entries, 1<<32)+1)
		s.ask.add(c)
		return s.known.err
	}
	c.total = t.entries
	return s.judge(c)
}

// judge keeps a pack if it is mostly dead. The number of its entries is known.
func (s *sparse) judge(c candidate) error {
	if c.named*5 < c.total*2 {
		if c.rank = int64(float64(c.info.Size) * float64(c.total-c.named) / float64(c.total)); c.rank >= s.opt.RewriteGain {
			s.found.add(c)
		}
	}
	return s.fresh.add(newUsage(c.id, inLog, 0, clip(c.total)))
}

// choose returns the packs to be condemned: those with the most to gain. The list has room for some.
func (s *sparse) choose(ctx context.Context, room int) (packs []Pack, err error) {
	if err := s.learn(ctx); err != nil {
		return nil, err
	}
	for _, c := range s.found.best() {
		if c.info.Size > s.left || len(packs) >= room {
			continue
		}
		s.left -= c.info.Size
		s.out.Thinning.add(c.info.Size)
		packs = append(packs, c.id)
	}
	return s.merge(ctx, packs, room)
}

// learn reads the directories of the packs that are most likely to be mostly dead: large ones with
// few named entries.
func (s *sparse) learn(ctx context.Context) error {
	asked := s.ask.best()
	objects := history.NewObjects(s.store, 1)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(countedAhead)
	for i := range asked {
		g.Go(func() error {
			dir, err := objects.Directory(gctx, asked[i].info.Key)
			switch {
			case err == nil:
				asked[i].total = uint64(len(dir.Entries))
			case failed(err):
				return err
			}
			return nil // damage: verify reports it
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, c := range asked {
		if c.total == 0 {
			continue
		}
		if err := s.judge(c); err != nil {
			return err
		}
	}
	return nil
}

// withTotals calls fn with the numbers of entries in the cache, and replaces them by those in the
// set that fn returns.
func (p *pass) withTotals(fn func(*usageSet) (*sparse, error)) error {
	return withCache(p.opt.Cache, p.cacheName(totalsName), func(old *cacheReader, fresh *cacheWriter) error {
		totals, err := old.find(totalsName, [32]byte{})
		if totals == nil {
			totals = newUsageSet(1)
		}
		if err == nil {
			var s *sparse
			if s, err = fn(totals); s != nil {
				if err == nil {
					err = fresh.add(totalsName, [32]byte{}, ofAll(s.fresh))
				}
				err = errors.Join(err, s.close())
			}
		}
		return errors.Join(err, totals.close())
	})
}
