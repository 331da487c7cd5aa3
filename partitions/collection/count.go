package collection

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cyrusbackup/backupd/internal/inorder"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// countedAhead is how many backups are read at a time.
const countedAhead = 16

// readFew is how many new objects of a backup a pass reads night after night rather than
// put its uses. A backup with a new commit each night thus costs at most three GETs.
const readFew = 1

// census finds the packs that anything in a partition names.
type census struct {
	store   objstore.Store
	now     time.Time // host's clock
	putUses bool
	fresh   *Seen     // what this run has read
	used    *usageSet // named by backups
	moved   *usageSet // that have the entries of used packs now
	seen    *sightings
	there   presence // at the beginning of the pass
	before  presence // at the last pass
	number  uint32   // of the last backup or note
	places  func(path string) bool
	noted   noted
	out     *Result

	register *registerReader // of the last pass; nil = none
	present  *registerWriter // of this one; nil = none
	gone     erased          // since the last pass
	lost     atomic.Int32    // backups that are missing
	accept   map[string]bool // Options.AcceptMissing
	tell     func(BlockedError)
	// partition is its name, for people.
	partition string
}

func (c *census) close() error { return errors.Join(c.used.close(), c.moved.close(), c.seen.close()) }

// all counts every backup. A backup that is set aside meanwhile is listed under at least one of
// its prefixes, because it is removed from the first one after it is complete in the second.
func (c *census) all(ctx context.Context, dir string, name func(string) string) error {
	if err := c.listNoted(ctx); err != nil {
		return err
	}
	err := withCache(dir, name("uses"), func(old *cacheReader, fresh *cacheWriter) error {
		seen, err := c.fresh.read()
		for _, prefix := range []string{backupPrefix, asidePrefix} {
			if err == nil {
				err = c.below(ctx, prefix, seen, old, fresh)
			}
		}
		return seen.close(err)
	})
	if err != nil {
		return err
	}
	var led *usageSet
	err = withCache(dir, name("notes"), func(old *cacheReader, fresh *cacheWriter) (err error) {
		led, err = c.notes(ctx, c.used, old, fresh)
		return err
	})
	// Notes lead only one step, unless something was interrupted.
	for steps := 1; err == nil && !led.empty(); steps++ {
		if steps == mostSteps {
			err = errCircle
			break
		}
		from := led
		led, err = c.notes(ctx, from, &cacheReader{end: true}, &cacheWriter{})
		err = errors.Join(err, from.close())
	}
	if led != nil {
		err = errors.Join(err, led.close())
	}
	return err
}

// mostSteps is how far notes are followed.
const mostSteps = 10

// withCache calls fn with the cache of the last pass and that for the next one.
func withCache(dir, name string, fn func(*cacheReader, *cacheWriter) error) error {
	old := &cacheReader{end: true}
	if dir != "" {
		old = openCache(name)
	}
	fresh, err := newCacheWriter(dir, name)
	if err == nil {
		if err = fn(old, fresh); err == nil {
			err = fresh.done()
		}
		fresh.drop()
	}
	return errors.Join(err, old.close())
}

// work is a backup on its way through the count.
type work struct {
	group
	cached *usageSet           // nil: to be read
	seen   map[string]*seenUse // objects that this run has read before
	err    error               // that ends the count
	was    *registered         // in the register of the last pass; nil = not there
	absent bool                // nothing is below its prefix
}

// outcome is a backup after it was counted.
type outcome struct {
	work
	counted *counted
	cleared bool // its copy that was set aside is complete, and it was being removed
	recognition
}

func (c *census) below(ctx context.Context, prefix string, seen *seenReader, old *cacheReader, fresh *cacheWriter) error {
	in := func(yield func(work) bool) {
		for g := range groups(ctx, c.store, prefix) {
			w := work{group: g}
			if g.err == nil {
				w.cached, w.err = old.find(g.prefix, g.print)
			}
			if w.err == nil && g.err == nil {
				w.seen, w.err = seen.of(g.prefix)
			}
			if !yield(w) {
				return
			}
		}
	}
	if prefix == backupPrefix {
		in = c.withRegister(in)
	}
	results := inorder.Map(ctx, inorder.Limit[work]{Count: countedAhead}, in, func(ctx context.Context, _ <-chan struct{}, w work) outcome { return c.read(ctx, w) })
	var first error
	for o := range results {
		first = errors.Join(first, c.take(o, fresh))
		if first != nil {
			break
		}
	}
	if first == nil {
		first = ctx.Err()
	}
	return first
}

// read finds the packs of a backup, and whether it is the one of the last pass.
func (c *census) read(ctx context.Context, w work) outcome {
	o := outcome{work: w}
	if !w.absent {
		o = c.packs(ctx, w)
	}
	if o.err == nil && o.group.err == nil && strings.HasPrefix(o.prefix, backupPrefix) {
		o.err = c.recognize(ctx, &o)
	}
	if o.err != nil && o.counted != nil {
		o.err = errors.Join(o.err, o.counted.packs.close())
		o.counted = nil
	}
	if errors.Is(o.err, errChanged) {
		o.group.err, o.err = o.err, nil // as if an object of its log had disappeared
	}
	return o
}

// packs finds the packs of a backup, unless the cache has them.
func (c *census) packs(ctx context.Context, w work) outcome {
	switch {
	case w.err != nil || w.group.err != nil:
		return outcome{work: w}
	case w.logless(c.there.at):
		return c.unreadable(ctx, w, errLogless)
	case w.cached != nil:
		return outcome{work: w, counted: &counted{packs: w.cached, print: w.print}}
	}
	b := backup{store: c.store, prefix: w.prefix, listed: w.infos, hasUses: w.uses, now: c.now, seen: w.seen}
	if c.putUses {
		b.putFrom = readFew + 1
	}
	for _, info := range []objstore.Info{w.info, w.tip} {
		if info.Key != "" && strings.HasPrefix(w.prefix, backupPrefix) {
			b.expected = append(b.expected, info)
		}
	}
	n, err := b.count(ctx)
	if err != nil {
		return c.unreadable(ctx, w, err)
	}
	return outcome{work: w, counted: n}
}

// unreadable is the outcome for a backup that cannot be counted.
func (c *census) unreadable(ctx context.Context, w work, why error) outcome {
	o := outcome{work: w}
	o.cleared, o.group.err = cleared(ctx, c.store, w.group, why)
	return o
}

// take adds the packs of a backup to those of all backups.
func (c *census) take(o outcome, fresh *cacheWriter) (err error) {
	switch {
	case o.err != nil:
		return o.err
	case o.group.err != nil:
		if o.prefix == "" || failed(o.group.err) {
			return o.group.err
		}
		c.out.block(strings.TrimSuffix(o.prefix, "/"), o.group.err)
		o.line = o.was
		return c.recognized(&o)
	case o.cleared:
		c.out.keep(strings.TrimSuffix(o.prefix, "/"), errHalfAside)
	}
	if o.counted == nil {
		return c.recognized(&o)
	}
	defer func() { err = errors.Join(err, o.counted.packs.close()) }()
	if err := c.recognized(&o); err != nil || o.first.IsZero() {
		return err
	}
	if err := c.seen.add(sightingOf(o.group, &c.before)); err != nil {
		return err
	}
	c.there.add(o.group)
	c.before.add(o.group)
	aside := strings.HasPrefix(o.prefix, asidePrefix) // nobody changes its places
	if aside {
		c.out.Aside++
	} else {
		c.out.Backups++
	}
	if o.cached == nil {
		c.out.Read++
	}
	c.number++
	old := false // places
	for p, err := range ofBackup(o.counted.packs) {
		old = old || p.placed && c.noted.has(p.Pack)
		if err == nil {
			kind := inState
			if p.logged || aside {
				kind = inLog
			}
			err = c.used.add(newUsage(p.Pack, kind, c.number, clip(p.entries)))
		}
		if err != nil {
			return err
		}
	}
	if old {
		c.oldPlaces(o.prefix)
	}
	return fresh.add(o.prefix, o.counted.print, ofBackup(o.counted.packs))
}

// failed reports whether a request has failed, so that others will fail too.
func failed(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		repository.IsStoreError(err) && !errors.Is(err, objstore.ErrNotExist)
}

// notes follows the notes in moved/ about some packs, to the packs that have the entries now.
// It returns these too.
func (c *census) notes(ctx context.Context, about *usageSet, old *cacheReader, fresh *cacheWriter) (led *usageSet, err error) {
	led = newUsageSet(packsOfBackup)
	if err = c.noteEach(ctx, about, led, old, fresh); err != nil {
		err = errors.Join(err, led.close())
		led = nil
	}
	return led, err
}

func (c *census) noteEach(ctx context.Context, from, led *usageSet, old *cacheReader, fresh *cacheWriter) error {
	next, stop := iter.Pull2(ofAll(from))
	defer stop()
	p, err, more := next()
	for info, lerr := range c.store.List(ctx, movedPrefix, "") {
		if lerr != nil {
			return lerr
		}
		about, ok := noteOf(info.Key)
		if !ok {
			continue
		}
		for err == nil && more && comparePacks(p.Pack, about) < 0 {
			p, err, more = next()
		}
		if err != nil {
			return err
		}
		if !more || p.Pack != about {
			continue // nobody names that pack
		}
		if err := c.note(ctx, info, p, led, old, fresh); err != nil {
			return err
		}
	}
	return err
}

const movedPrefix = "moved/"

// noteOf returns the pack that a note is about.
func noteOf(key string) (p Pack, ok bool) {
	name, found := strings.CutPrefix(key, movedPrefix)
	if name, ok = strings.CutSuffix(name, ".json"); !found || !ok {
		return p, false
	}
	return packOf(packPrefix + name + ".tar.zst")
}

func (c *census) note(ctx context.Context, info objstore.Info, about packUse, led *usageSet, old *cacheReader, fresh *cacheWriter) error {
	f := newFingerprint()
	f.add(object{Info: info, rel: info.Key, kind: kindLog})
	packs, err := old.find(info.Key, f.value())
	if err != nil {
		return err
	}
	listed := true
	if packs == nil {
		if packs, listed, err = readNote(ctx, c.store, info, about.Pack); err != nil {
			if failed(err) {
				return err
			}
			c.out.block(info.Key, err)
			return nil
		}
	}
	defer packs.close()
	c.number++
	for p, err := range ofAll(packs) {
		if err == nil {
			u := newUsage(p.Pack, inLog, c.number, clip(min(p.entries, about.entries)))
			err = errors.Join(c.moved.add(u), led.add(u))
		}
		if err != nil {
			return err
		}
	}
	if !listed {
		return nil
	}
	return fresh.add(info.Key, f.value(), ofAll(packs))
}

// readNote returns the packs that a note names. A note may have been replaced since it was
// listed: then it names every place that is needed now.
func readNote(ctx context.Context, s objstore.Store, info objstore.Info, about Pack) (packs *usageSet, listed bool, err error) {
	m, now, err := history.ReadMoved(ctx, s, history.PackKey(about))
	if err != nil {
		return nil, false, err
	}
	entries := map[Pack]uint32{}
	for _, key := range m.Entries {
		if p, ok := packOf(key); ok { // nothing else is ever removed
			entries[p]++
		}
	}
	packs = newUsageSet(packsOfBackup)
	for p, n := range entries {
		if err := packs.add(newUsage(p, inLog, 0, n)); err != nil {
			return nil, false, errors.Join(err, packs.close())
		}
	}
	return packs, now.ETag == info.ETag && now.Size == info.Size, nil
}
