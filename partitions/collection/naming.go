package collection

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/internal/inorder"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// naming is an entry of a pack that something names: the pack, the length of the hash in the
// entry's name, that hash, and the chunk that must be in the entry.
type naming [32 + 1 + 32 + 32]byte

func (n *naming) raw() []byte { return n[:] }

// namingOf returns the naming in a place. ok is false for a place outside packs.
func namingOf(p history.Place) (n naming, ok bool, err error) {
	id, ok := packOf(p.Object)
	if !ok {
		return n, false, nil
	}
	name, size := strings.TrimSuffix(p.Entry, ".eml"), 20
	if strings.HasSuffix(p.Entry, ".part") {
		name, size = strings.TrimSuffix(p.Entry, ".part"), 32
	}
	copy(n[:], id[:])
	n[32] = byte(size)
	if len(name) != hex.EncodedLen(size) {
		return n, false, fmt.Errorf("place of chunk %s: %w: entry %q in a pack", p.Chunk, history.ErrCorrupt, p.Entry)
	}
	if _, err := hex.Decode(n[33:], []byte(name)); err != nil {
		return n, false, fmt.Errorf("place of chunk %s: %w: entry %q in a pack", p.Chunk, history.ErrCorrupt, p.Entry)
	}
	copy(n[65:], p.Chunk[:])
	return n, true, nil
}

func (n *naming) pack() Pack { return Pack(n[:32]) }

// in returns the naming of the same entry in another pack.
func (n naming) in(p Pack) naming {
	copy(n[:], p[:])
	return n
}

func (n *naming) chunk() history.ChunkID { return history.ChunkID(n[65:]) }

func (n *naming) entry() string {
	var name pack.Name
	if n[32] == 20 {
		name = pack.MessageName([20]byte(n[33:]))
	} else {
		name = pack.PieceName([32]byte(n[33:65]))
	}
	return name.String()
}

// namingSet is a set of namings, sorted by pack.
type namingSet = sortedSet[naming, *naming]

const (
	namingsOfBackup = 1 << 12 // 400 KB
	namingsOfGroup  = 1 << 17 // 13 MB
)

func newNamingSet(most int) *namingSet { return newSortedSet[naming, *naming](most) }

// namings adds the entries of wanted packs that an object names.
func (r *reader) namings(ctx context.Context, o object, places placesIn) error {
	for p, err := range places(ctx, r.pinned(o), o.Key) {
		if err != nil {
			return r.gone(err)
		}
		n, ok, err := namingOf(p)
		if err != nil {
			return err
		}
		if !ok || !r.wanted[n.pack()] {
			continue
		}
		if err := r.named.add(n); err != nil {
			return err
		}
	}
	return nil
}

// counting finds which entries of some packs anything in the partition names. It does not rely
// on what the pass has counted before: of a backup that names one of the packs, it reads every
// object with places, also those that name no such pack by its uses.
type counting struct {
	*pass
	wanted map[Pack]bool
	notes  map[Pack]bool // packs about which there is a note that leads to a wanted pack
	again  *sightings
	doubt  map[Pack]bool // wanted packs that unreadable commits have named
}

// entries returns the named entries of the wanted packs. They are incomplete if it has blocked
// the pass.
func (c *counting) entries(ctx context.Context) (_ *namingSet, err error) {
	all := newNamingSet(namingsOfGroup)
	c.again, c.doubt = newSightings(), map[Pack]bool{}
	defer func() { err = errors.Join(err, c.again.close()) }()
	old := openCache(c.cacheName("uses"))
	for _, prefix := range []string{backupPrefix, asidePrefix} {
		if err == nil {
			err = c.below(ctx, prefix, old, all)
		}
	}
	if err = errors.Join(err, old.close()); err == nil {
		if err = c.compare(); err == nil {
			err = c.follow(ctx, all)
		}
	}
	if err != nil {
		return nil, errors.Join(err, all.close())
	}
	return all, nil
}

// compare blocks the pass if backups, or their newest commits, have disappeared since it has counted
// them.
func (c *counting) compare() error {
	if c.out.Blocking > 0 {
		return nil
	}
	n, err := missing(c.pass.seen, c.again)
	if n > 0 {
		c.out.block(backupPrefix, fmt.Errorf("%w, or their newest commits: %d of those that were there some minutes ago: is everything mounted?", errMissing, n))
	}
	return err
}

// asked is a backup on its way through the count.
type asked struct {
	work
	named *namingSet // nil: it names none of the packs
	doubt map[Pack]bool

	cleared bool // it was being removed after it was set aside
}

func (c *counting) below(ctx context.Context, prefix string, old *cacheReader, all *namingSet) error {
	in := func(yield func(asked) bool) {
		for g := range groups(ctx, c.store, prefix) {
			a := asked{work: work{group: g}}
			if g.err == nil {
				a.cached, a.err = old.find(g.prefix, g.print)
			}
			if !yield(a) {
				return
			}
		}
	}
	results := inorder.Map(ctx, inorder.Limit[asked]{Count: countedAhead}, in, func(ctx context.Context, _ <-chan struct{}, a asked) asked { return c.ask(ctx, a) })
	var first error
	for a := range results {
		if first = errors.Join(first, c.take(a, all)); first != nil {
			break
		}
	}
	if first == nil {
		first = ctx.Err()
	}
	return first
}

// ask reads the namings of a backup.
func (c *counting) ask(ctx context.Context, a asked) asked {
	if a.err != nil || a.group.err != nil {
		return a
	}
	if a.cached != nil {
		var named bool
		named, a.err = c.names(a.cached)
		if a.err = errors.Join(a.err, a.cached.close()); a.err != nil || !named {
			return a
		}
	}
	b := backup{store: c.store, prefix: a.prefix, listed: a.infos, hasUses: a.uses, now: c.opt.Lock.Now(), wanted: c.wanted}
	n, err := b.count(ctx)
	if err != nil {
		a.cleared, a.group.err = cleared(ctx, c.store, a.group, err)
		return a
	}
	a.named, a.doubt, a.err = n.named, n.doubt, n.packs.close()
	return a
}

// names reports whether some packs are wanted.
func (c *counting) names(packs *usageSet) (bool, error) {
	for p, err := range ofBackup(packs) {
		if err != nil || c.wanted[p.Pack] {
			return err == nil, err
		}
	}
	return false, nil
}

func (c *counting) take(a asked, all *namingSet) (err error) {
	if a.named != nil {
		defer func() { err = errors.Join(err, a.named.close()) }()
	}
	switch {
	case a.err != nil:
		return a.err
	case a.group.err != nil && (a.prefix == "" || failed(a.group.err)):
		return a.group.err
	case a.group.err != nil:
		c.out.block(strings.TrimSuffix(a.prefix, "/"), a.group.err)
		return nil
	case a.cleared:
		return nil
	}
	maps.Copy(c.doubt, a.doubt)
	if err := c.again.add(sightingOf(a.group, &presence{})); err != nil || a.named == nil {
		return err
	}
	for n, err := range a.named.sorted() {
		if err == nil {
			err = all.add(n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// follow adds the entries that notes lead to from named entries.
func (c *counting) follow(ctx context.Context, all *namingSet) error {
	from := all
	for steps := 1; len(c.notes) > 0 && !from.empty(); steps++ {
		if steps == mostSteps {
			return errCircle
		}
		led := newNamingSet(namingsOfBackup)
		err := c.step(ctx, from.sorted(), led)
		if from != all {
			err = errors.Join(err, from.close())
		}
		if err == nil {
			for n, nerr := range led.sorted() {
				if err = errors.Join(err, nerr); err == nil {
					err = all.add(n)
				}
			}
		}
		if err != nil {
			return errors.Join(err, led.close())
		}
		from = led
	}
	if from != all {
		return from.close()
	}
	return nil
}

// step follows the notes about the packs of namings by one step.
func (c *counting) step(ctx context.Context, from iter.Seq2[naming, error], led *namingSet) error {
	var about Pack
	var to map[string]string
	for n, err := range from {
		if err != nil {
			return err
		}
		if p := n.pack(); to == nil || p != about {
			about = p
			if to, err = c.ledFrom(ctx, p); err != nil {
				return err
			}
		}
		if p, ok := packOf(to[n.entry()]); ok && c.wanted[p] {
			if err := led.add(n.in(p)); err != nil {
				return err
			}
		}
	}
	return nil
}

// ledFrom returns where the note about a pack leads.
func (c *counting) ledFrom(ctx context.Context, p Pack) (map[string]string, error) {
	if !c.notes[p] {
		return map[string]string{}, nil
	}
	m, _, err := history.ReadMoved(ctx, c.store, history.PackKey(p))
	switch {
	case err != nil && !failed(err): // also if it is gone: nothing removes notes
		c.out.block(history.PackKey(p), err)
		return map[string]string{}, nil
	case err != nil:
		return nil, err
	}
	return m.Entries, nil
}

// needed are the named entries of a pack, with their chunks.
type needed map[string]history.ChunkID

// neededOf reads the namings of a pack from the sorted ones. differ is an error if two places
// disagree about what an entry contains.
func (s *namings) neededOf(p Pack) (need needed, differ error) {
	need = needed{}
	for s.err == nil && s.more && slices.Compare(s.at[:32], p[:]) <= 0 {
		if n := s.at; n.pack() == p {
			entry, chunk := n.entry(), n.chunk()
			if other, twice := need[entry]; twice && other != chunk {
				differ = fmt.Errorf("%w: places name entry %s as chunk %s and as chunk %s", history.ErrCorrupt, entry, other, chunk)
			}
			need[entry] = chunk
		}
		s.at, s.err, s.more = s.next()
	}
	return need, differ
}

// namings reads sorted namings, pack by pack.
type namings struct {
	next func() (naming, error, bool)
	at   naming
	err  error
	more bool
}

func readNamings(set *namingSet) (s *namings, stop func()) {
	s = &namings{}
	s.next, stop = iter.Pull2(set.sorted())
	s.at, s.err, s.more = s.next()
	return s, stop
}
