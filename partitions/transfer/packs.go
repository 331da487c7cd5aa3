package transfer

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/objstore/rangecache"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// packCopier copies the entries of packs that a backup refers to. Places keep the names of
// the old packs; a note in moved/ for each old pack records the new packs of its entries.
type packCopier struct {
	store   objstore.Store // of the old partition
	objects *history.Objects
	to      Target
	done    *repository.Copied
	batch   []history.Place

	w     *pack.Writer
	in    map[string]history.ChunkID   // entries of w
	waits map[string]map[string]bool   // by old pack: its entries in w
	there map[string]bool              // by pack: whether the target has it and will keep it
	notes map[string]map[string]string // by old pack: entries of its note; a small cache

	absent  map[history.ChunkID]error // chunks that were not found
	damaged bool                      // an object could not be read completely
}

func newPackCopier(from *repository.Found, to Target, done *repository.Copied) *packCopier {
	s := rangecache.New(from.Partition.Store, 16<<20)
	p := &packCopier{store: s, objects: history.NewObjects(s, 0), to: to, done: done,
		there: map[string]bool{}, notes: map[string]map[string]string{}, absent: map[history.ChunkID]error{}}
	p.begin()
	return p
}

func (p *packCopier) begin() {
	opt, _ := p.to.Packing()
	p.w = pack.NewWriter(nil, opt)
	p.in, p.waits = map[string]history.ChunkID{}, map[string]map[string]bool{}
}

// batchPlaces is how many places are collected, so that they can be sorted by pack.
const batchPlaces = 1 << 14

// namedIn copies the entries that a commit or an object with blocks refers to.
func (p *packCopier) namedIn(ctx context.Context, key string) error {
	for place, err := range history.ObjectPlaces(ctx, p.store, key) {
		if history.IsUnreadable(err) && !errors.Is(err, objstore.ErrNotExist) { // an object that is gone was merged after the list
			p.damaged = true // copied unchanged; checkAbsent decides whether the state needs it
			break
		}
		if err != nil {
			return err
		}
		if !strings.HasPrefix(place.Object, "packs/") {
			continue // in the log, which is copied byte for byte
		}
		if p.batch = append(p.batch, place); len(p.batch) == batchPlaces {
			if err := p.copyBatch(ctx); err != nil {
				return err
			}
		}
	}
	return p.copyBatch(ctx)
}

func (p *packCopier) copyBatch(ctx context.Context) error {
	slices.SortFunc(p.batch, func(a, b history.Place) int { return cmp.Compare(a.Object, b.Object) })
	for rest := p.batch; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Object == rest[0].Object {
			n++
		}
		if err := p.copyFrom(ctx, rest[0].Object, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	p.batch = p.batch[:0]
	return nil
}

// copyFrom copies the entries of one old pack that the target does not have yet.
func (p *packCopier) copyFrom(ctx context.Context, old string, places []history.Place) error {
	if there, err := p.has(ctx, old); there || err != nil {
		return err
	}
	note, err := p.note(ctx, old)
	if err != nil {
		return err
	}
	var list []source
	for _, place := range places {
		if note[place.Entry] != "" || p.waits[old][place.Entry] {
			continue
		}
		object, e, err := p.objects.Entry(ctx, place)
		if errors.Is(err, history.ErrNoPlace) {
			p.absent[place.Chunk] = err
			continue
		}
		if err != nil {
			return err
		}
		list = append(list, source{place, object, e})
	}
	slices.SortFunc(list, func(a, b source) int {
		return cmp.Or(cmp.Compare(a.object, b.object), cmp.Compare(a.entry.Off, b.entry.Off), cmp.Compare(a.entry.Skip, b.entry.Skip))
	})
	// Two commits can refer to the same place.
	list = slices.CompactFunc(list, func(a, b source) bool { return a.place == b.place })
	for _, s := range list {
		if err := p.add(ctx, old, s); err != nil {
			return err
		}
	}
	return nil
}

// source is an entry to copy.
type source struct {
	place  history.Place
	object string
	entry  pack.Entry
}

// forget makes the copier ask again which packs the target has.
func (p *packCopier) forget() {
	clear(p.there)
	clear(p.notes)
}

// condemned reports whether the target has condemned a pack that it had.
func (p *packCopier) condemned(ctx context.Context) (bool, error) {
	list, err := p.to.Condemned(ctx)
	if err != nil {
		return false, err
	}
	for _, c := range list.Packs {
		if p.there[c.Key] {
			return true, nil
		}
	}
	return false, nil
}

// has reports whether the target has a pack and will keep it. It can have the old pack if
// the backup was in the target before.
func (p *packCopier) has(ctx context.Context, old string) (bool, error) {
	if there, known := p.there[old]; known {
		return there, nil
	}
	condemned, err := p.to.Condemned(ctx)
	if err != nil {
		return false, err
	}
	_, err = p.to.Config().Store.Stat(ctx, old)
	if err != nil && !errors.Is(err, objstore.ErrNotExist) {
		return false, err
	}
	p.there[old] = err == nil && !condemned.Has(old)
	return p.there[old], nil
}

// heldNotes is how many notes are cached.
const heldNotes = 8

func (p *packCopier) note(ctx context.Context, old string) (map[string]string, error) {
	if n, ok := p.notes[old]; ok {
		return n, nil
	}
	m, _, err := history.ReadMoved(ctx, p.to.Config().Store, old)
	if errors.Is(err, objstore.ErrNotExist) {
		m, err = &history.Moved{}, nil
	}
	if err != nil {
		return nil, err
	}
	// The note may be that of a copy that was interrupted long ago, whose packs nobody named.
	for entry, pack := range m.Entries {
		there, err := p.has(ctx, pack)
		if err != nil {
			return nil, err
		}
		if !there {
			delete(m.Entries, entry)
		}
	}
	if len(p.notes) >= heldNotes {
		clear(p.notes)
	}
	p.notes[old] = m.Entries
	return m.Entries, nil
}

// add reads an entry, checks its SHA-256 and adds it to the new pack.
func (p *packCopier) add(ctx context.Context, old string, s source) error {
	if chunk, taken := p.in[s.place.Entry]; taken {
		if chunk == s.place.Chunk {
			p.wait(old, s.place.Entry)
			return nil
		}
		// Two bodies with the same GUID cannot share a pack.
		if err := p.flush(ctx); err != nil {
			return err
		}
	}
	body, err := p.read(ctx, s)
	if err != nil {
		return err
	}
	if err := p.w.Add(s.place.Entry, body); err != nil {
		return fmt.Errorf("pack %s: %w", s.place.Entry, err)
	}
	p.in[s.place.Entry] = s.place.Chunk
	p.wait(old, s.place.Entry)
	if _, size := p.to.Packing(); int64(p.w.Len()) >= size {
		return p.flush(ctx)
	}
	return nil
}

// wait records that an entry of an old pack is in the new pack, which is not written yet.
func (p *packCopier) wait(old, entry string) {
	if p.waits[old] == nil {
		p.waits[old] = map[string]bool{}
	}
	p.waits[old][entry] = true
}

func (p *packCopier) read(ctx context.Context, s source) ([]byte, error) {
	frames, err := p.objects.Frames(ctx, s.object, s.entry.Off, s.entry.Len)
	if errors.Is(err, objstore.ErrNotExist) { // rewritten since its directory was read
		p.objects.Forget()
		if s.object, s.entry, err = p.objects.Entry(ctx, s.place); err == nil {
			frames, err = p.objects.Frames(ctx, s.object, s.entry.Off, s.entry.Len)
		}
	}
	if err != nil {
		return nil, err
	}
	defer frames.Close()
	body, err := pack.ReadBody(s.entry, frames)
	if err == nil && history.ChunkID(sha256.Sum256(body)) != s.place.Chunk {
		err = fmt.Errorf("%w: the SHA-256 is not that of chunk %s", history.ErrCorrupt, s.place.Chunk)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: entry %s cannot be copied (ctl_backups verify lists the damage): %w", s.object, s.place.Entry, err)
	}
	return body, nil
}

// flush writes the new pack, and then the notes that refer to it.
func (p *packCopier) flush(ctx context.Context) error {
	if len(p.in) == 0 {
		return nil
	}
	obj, err := p.w.Finish()
	if err != nil {
		return err
	}
	key := history.PackKey(sha256.Sum256(obj))
	if _, err := p.to.Config().Store.Put(ctx, key, bytes.NewReader(obj), objstore.PutOptions{}); err != nil {
		return err
	}
	for _, old := range slices.Sorted(maps.Keys(p.waits)) {
		if err := p.noteMoved(ctx, old, p.waits[old], key); err != nil {
			return err
		}
	}
	p.done.Chunks += len(p.in)
	p.done.Bytes += int64(len(obj))
	p.begin()
	return nil
}

func (p *packCopier) noteMoved(ctx context.Context, old string, entries map[string]bool, now string) error {
	delete(p.notes, old)
	return repository.NoteMoved(ctx, p.to.Config().Store, !p.to.Conditional(), p.to.StoreNow(ctx, time.Time{}), old, slices.Collect(maps.Keys(entries)), now)
}
