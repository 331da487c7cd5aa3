package collection

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// Options are the options of Collect.
type Options struct {
	Lock   repository.LockOptions // owner and clock of the lease
	Cache  string                 // directory for the cache; "" = none
	DryRun bool                   // change nothing in the bucket, and take no lease

	Pack         pack.Options // of new packs
	PackSize     int64        // of new packs; 0 = 16 MiB
	RewriteLimit int64        // bytes of packs that a pass rewrites; 0 = 16 GiB
	RewriteGain  int64        // bytes that the rewrite of a mostly dead pack saves at least; 0 = 1 MiB

	// Erase yields packs with bodies that were erased, in order, each once. Condemn has put them
	// on the list. They are removed or rewritten two hours after that, whatever the limit, with
	// all their versions: see Result.Erasing. nil = none.
	Erase iter.Seq2[Pack, error]
	// Keep returns packs with bodies that will be erased later, in the same order, or all = every pack. They are
	// not rewritten, even if Erase yields them too, because a copy of such a body would be in a pack that no erasure
	// has on record. It is called when no erasure can begin any more. nil = none.
	Keep func(context.Context) (packs iter.Seq2[Pack, error], all bool, err error)

	// Places chooses the backups that Result.Places may name; nil = none.
	Places func(path string) bool

	// AcceptMissing are paths below backups/ of backups that a person knows to be lost, and RegisterKey for a register that is: they
	// block nothing, see Result.Accepted.
	AcceptMissing map[string]bool
	// Missing is called for each backup that is missing, beyond those in Result.Blocked. Without it, a pass stops looking after
	// MostBlocked of them.
	Missing func(BlockedError)

	// Seen is what this run has read of new objects; nil = nothing.
	Seen *Seen
}

func (o *Options) setDefaults() {
	o.Lock.SetDefaults()
	o.PackSize = cmp.Or(o.PackSize, packSize)
	o.RewriteLimit = cmp.Or(o.RewriteLimit, mostRewritten)
	o.RewriteGain = cmp.Or(o.RewriteGain, rewriteGain)
}

// pass is one run of Collect.
type pass struct {
	name     string // of the partition
	store    objstore.Store
	opt      Options
	lease    *repository.Upkeep // nil in a dry run
	last     *Totals
	gone     erased // since then
	left     int64  // bytes that may still be rewritten
	stuck    int    // packs in a row whose deletion has failed
	seen     *sightings
	began    time.Time // store time, before anything was listed
	out      *Result
	register *registerReader // of the last pass; nil = none
	present  *registerWriter // of this one; nil = a dry run
	// cacheName returns the name of a cache of the partition.
	cacheName func(what string) string
	private   bool   // backups share no bodies
	unread    []Pack // about which there is a note that cannot be read
}

// Collect removes the packs of a partition that nothing has named for a day and that were
// condemned for as long, and condemns those that nothing names now. It removes nothing while
// anything in the partition cannot be read: see Result.Blocked. The error is ErrUpkeep if
// another program collects, and storeclock.ErrUncertain if the time is in doubt.
func Collect(ctx context.Context, part repository.Config, o Options) (out *Result, err error) {
	o.setDefaults()
	if o.Cache == "" { // for the second count
		if o.Cache, err = os.MkdirTemp("", "backupd-uses-"); err != nil {
			return &Result{}, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.Cache)) }()
	}
	p := &pass{name: part.Name, store: part.Store, opt: o, out: &Result{}}
	repo, err := repository.ReadInfo(ctx, part.Store)
	if errors.Is(err, objstore.ErrNotExist) {
		return p.out, nil // an empty partition
	}
	if err == nil && !o.DryRun {
		if p.lease, err = repository.BeginCollection(ctx, part, o.Lock); err == nil {
			defer func() { err = errors.Join(err, p.lease.End(context.WithoutCancel(ctx))) }()
			during, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(p.lease.Context(), cancel)()
			ctx = during
		}
	}
	if err == nil {
		p.private = repo.Dedup == "backup"
		p.cacheName = func(what string) string { return cacheName(o.Cache, repo.ID, part.Location, what) }
		err = p.run(ctx)
	}
	if err != nil {
		err = fmt.Errorf("collect packs of partition %s (%s): %w", part.Name, part.Location, err)
	}
	return p.out, err
}

func (p *pass) run(ctx context.Context) (err error) {
	if p.last, err = Last(ctx, p.store); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.closeRegister()) }()
	if err = p.openRegister(ctx); err != nil {
		return err
	}
	if p.gone, err = p.erasedSince(ctx); err != nil {
		return err
	}
	if p.began, err = p.certain(ctx); err != nil {
		return err
	}
	p.out.Totals = Totals{Version: resultVersion, Time: p.began.UTC()}
	if p.last != nil {
		p.out.Merged = p.last.Merged
	}
	// The list is read before the count: a pack is removed only if it was on the list before.
	list, listed, err := history.ReadCondemned(ctx, p.store)
	if err != nil {
		return err
	}
	if p.last != nil {
		if err := repository.CondemnedLost(listed, p.last.Condemned.Packs+p.last.Sparse.Packs); err != nil {
			p.out.block(history.CondemnedKey, err)
		}
	}
	c := p.newCensus()
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.all(ctx, p.opt.Cache, p.cacheName); err != nil {
		return err
	}
	if err := p.countPresent(c); err != nil {
		return err
	}
	do, err := p.sortPacks(ctx, both(ofAll(c.used), ofAll(c.moved)), list, listed)
	if err != nil {
		return err
	}
	if err := p.compare(ctx, &c.before); err != nil {
		return err
	}
	if p.out.Blocking == 0 {
		err = p.change(ctx, do)
	}
	if err == nil && p.out.Blocking > 0 {
		p.out.Condemning, p.out.Thinning = Amount{}, Amount{}
		err = p.keepRegister(ctx)
	}
	return err
}

func (p *pass) newCensus() *census {
	c := &census{store: p.store, now: p.opt.Lock.Now(), putUses: !p.opt.DryRun, fresh: p.opt.Seen, used: newUsageSet(packsOfAll), moved: newUsageSet(packsOfAll), seen: newSightings(), out: p.out}
	c.there.at, c.places = p.began, p.opt.Places
	c.register, c.present, c.gone = p.register, p.present, p.gone
	c.accept, c.tell, c.partition = p.opt.AcceptMissing, p.opt.Missing, p.name
	if p.last != nil {
		c.before.at, c.before.remade = p.last.Time, p.gone.remade
	}
	p.seen = c.seen
	return c
}

// countPresent completes the numbers of backups after the count.
func (p *pass) countPresent(c *census) error {
	all, recent, err := twice(c.seen)
	p.out.There, p.out.Twice = c.there.there, all
	c.before.aside -= recent // they are there, too
	return err
}

// compare blocks the pass if backups are missing that were not erased. Perhaps a disk is not
// mounted, or somebody has made a mistake, and their packs must still be there when the backups are
// there again.
func (p *pass) compare(ctx context.Context, before *presence) error {
	is, was := p.out.Totals, p.last
	if is.Backups+is.Aside == 0 && is.Condemned.Packs+p.out.Condemning.Packs > 0 {
		if erased, err := p.emptied(ctx); err != nil || erased {
			return err
		}
		p.out.block(backupPrefix, fmt.Errorf("%w: there is none, but there are %d packs: is everything mounted?", errMissing, is.All.Packs))
		return nil
	}
	if !p.counts() || p.out.Blocking > 0 { // a backup that blocks was not counted
		return nil
	}
	if is.Backups+p.gone.used < was.Backups && is.copies()+p.gone.all < was.copies() {
		p.out.block(backupPrefix, fmt.Errorf("%w: %d (and %d set aside), but %d (%d) on %s: is everything mounted? If backups were removed on purpose, remove %s", errMissing,
			is.Backups, is.Aside, was.Backups, was.Aside, was.Time.UTC().Format(time.RFC3339), ResultKey))
	} else if err := before.fewer(was, p.gone.used); err != nil {
		p.out.block(backupPrefix, err)
	}
	return nil
}

// errMissing reports that the list of backups is not believed.
var errMissing = errors.New("backups are missing")

// change rewrites and removes packs, and changes the list.
func (p *pass) change(ctx context.Context, do *sorted) (err error) {
	leads := newSortedSet[lead, *lead](leadsOfAll)
	if len(do.rewrite)+len(do.remove) > 0 {
		if leads, err = p.leads(ctx); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, leads.close()) }()
	if err := p.rewrite(ctx, do, leads); err != nil {
		return err
	}
	waiting, err := p.waiting(ctx, do)
	if err != nil {
		return err
	}
	switch {
	case p.out.Blocking > 0: // by what only this count has found
		return nil
	case p.opt.DryRun:
		for _, info := range do.remove {
			p.out.Removed.add(info.Size)
		}
		p.settle()
		return nil
	}
	if err := p.noteUnused(ctx, waiting); err != nil {
		return err
	}
	return p.finish(ctx, do, leads)
}

// finish removes packs and changes the list.
func (p *pass) finish(ctx context.Context, do *sorted, leads *leadSet) error {
	if err := p.remove(ctx, do.remove, leads); err != nil {
		return err
	}
	gone, err := p.longGone(ctx, do.absent)
	if err != nil {
		return err
	}
	now, err := p.certain(ctx)
	if err != nil {
		return err
	}
	if err := p.changeList(ctx, slices.Concat(do.condemn, do.sparse), gone, now); err != nil {
		return err
	}
	if err := p.eraseVersions(ctx); err != nil {
		return err
	}
	p.settle()
	// The totals come last: they show that the register is complete. A register without them is that of a later pass than
	// the totals, and every backup in it was there.
	if err := p.present.put(ctx, p.store, p.began, p.began); err != nil {
		return err
	}
	p.out.Listed = true
	return p.out.put(ctx, p.store)
}

// settle makes the totals those after the pass.
func (p *pass) settle() {
	t, r := &p.out.Totals, p.out
	for _, a := range []*Amount{&t.All, &t.Condemned} {
		a.sub(r.Removed)
	}
	for _, a := range []*Amount{&t.All, &t.Used} {
		a.sub(r.Replaced)
		a.Add(r.Written)
	}
	t.Condemned.Add(r.Condemning)
	t.Sparse.sub(r.Replaced)
	t.Sparse.Add(r.Thinning)
}

// certain returns the store's time, or storeclock.ErrUncertain.
func (p *pass) certain(ctx context.Context) (time.Time, error) {
	var before time.Time
	if p.last != nil {
		before = p.last.Time
	}
	now, err := storeclock.Certain(ctx, p.store, repository.Key, p.opt.Lock.Now, before)
	if errors.Is(err, storeclock.ErrEarlier) {
		return now, fmt.Errorf("%w. That time is in %s: if the clocks are right now and were wrong then, remove %s; otherwise nothing is removed until that time",
			err, ResultKey, ResultKey)
	}
	return now, err
}
