package collection

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// lead is a note in moved/ that leads to a pack: that pack, then the pack that the note is
// about.
type lead [64]byte

func (l *lead) raw() []byte { return l[:] }
func (l *lead) to() Pack    { return Pack(l[:32]) }
func (l *lead) about() Pack { return Pack(l[32:]) }

// leadSet are the leads of all notes, sorted by the pack that they lead to.
type leadSet = sortedSet[lead, *lead]

// leadsOfAll is how many leads are kept in memory: 8 MB.
const leadsOfAll = 1 << 17

// emptyNote is more bytes than a note without entries has, and fewer than one with an entry.
const emptyNote = 200

// errCircle reports notes that lead to each other.
var errCircle = fmt.Errorf("%s: notes about packs lead from one to the other in a circle", movedPrefix)

// leads reads all notes, also those about packs that nobody names: the index of a daemon may
// know these packs. A note that cannot be read blocks the pass only if something names its pack,
// as the count of entries finds out (see withLeads).
func (p *pass) leads(ctx context.Context) (all *leadSet, err error) {
	all = newSortedSet[lead, *lead](leadsOfAll)
	err = withCache(p.opt.Cache, p.cacheName("leads"), func(old *cacheReader, fresh *cacheWriter) error {
		for info, err := range p.store.List(ctx, movedPrefix, "") {
			if err != nil {
				return err
			}
			about, ok := noteOf(info.Key)
			if !ok || info.Size <= emptyNote {
				continue
			}
			if err := p.leadsOf(ctx, info, about, all, old, fresh); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, all.close())
	}
	return all, nil
}

func (p *pass) leadsOf(ctx context.Context, info objstore.Info, about Pack, all *leadSet, old *cacheReader, fresh *cacheWriter) (err error) {
	f := newFingerprint()
	f.add(object{Info: info, rel: info.Key, kind: kindLog})
	packs, err := old.find(info.Key, f.value())
	listed := true
	if err == nil && packs == nil {
		if packs, listed, err = readNote(ctx, p.store, info, about); err != nil && !failed(err) {
			p.out.keep(info.Key, fmt.Errorf("%w: no backup names its pack, so the note can be removed", err))
			p.unread = append(p.unread, about)
			return nil
		}
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, packs.close()) }()
	for to, err := range ofAll(packs) {
		if err != nil {
			return err
		}
		var l lead
		copy(l[:], to.Pack[:])
		copy(l[32:], about[:])
		if err := all.add(l); err != nil {
			return err
		}
	}
	if !listed {
		return nil
	}
	return fresh.add(info.Key, f.value(), ofAll(packs))
}

// leadingTo returns the notes that lead to packs, by pack: the packs that the notes are about.
func leadingTo(all *leadSet, packs []objstore.Info) (map[Pack][]Pack, error) {
	to := map[Pack]bool{}
	for _, info := range packs {
		if id, ok := packOf(info.Key); ok {
			to[id] = true
		}
	}
	found := map[Pack][]Pack{}
	for l, err := range all.sorted() {
		if err != nil {
			return nil, err
		}
		if to[l.to()] {
			found[l.to()] = append(found[l.to()], l.about())
		}
	}
	return found, nil
}

// withLeads returns packs with those from which notes lead to them, and the latter. These include the packs
// of unreadable notes: the count blocks the pass if it finds that something names them.
func withLeads(all *leadSet, packs []objstore.Info, unread []Pack) (wanted, notes map[Pack]bool, err error) {
	wanted, notes = map[Pack]bool{}, map[Pack]bool{}
	for _, p := range unread {
		wanted[p], notes[p] = true, true
	}
	for _, info := range packs {
		if id, ok := packOf(info.Key); ok {
			wanted[id] = true
		}
	}
	for range mostSteps {
		before := len(notes)
		for l, err := range all.sorted() {
			if err != nil {
				return nil, nil, err
			}
			if wanted[l.to()] {
				wanted[l.about()], notes[l.about()] = true, true
			}
		}
		if len(notes) == before {
			return wanted, notes, nil
		}
	}
	return nil, nil, errCircle
}

// keepLed adds the packs that notes about packs lead to.
func keepLed(all *leadSet, packs map[Pack]bool) error {
	for before := -1; len(packs) > 0 && len(packs) != before; {
		before = len(packs)
		for l, err := range all.sorted() {
			if err != nil {
				return err
			}
			if packs[l.about()] {
				packs[l.to()] = true
			}
		}
	}
	return nil
}

// notesTo counts the notes that lead to each of the packs, by key.
func notesTo(all *leadSet, packs []objstore.Info) (map[string]int, error) {
	to, n := map[Pack]string{}, map[string]int{}
	for _, info := range packs {
		if id, ok := packOf(info.Key); ok {
			to[id] = info.Key
		}
	}
	for l, err := range all.sorted() {
		if err != nil {
			return nil, err
		}
		if key := to[l.to()]; key != "" {
			n[key]++
		}
	}
	return n, nil
}

// doubtfulNote returns an unreadable note about a pack that an unreadable commit has named: nobody knows
// where it leads.
func (c *counting) doubtfulNote() (key string, ok bool) {
	for _, p := range c.unread {
		if c.doubt[p] {
			key, _ = history.MovedKey(history.PackKey(p))
			return key, true
		}
	}
	return "", false
}
