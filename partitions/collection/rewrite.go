package collection

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/objstore/rangecache"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/packing"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A condemned pack that is used after all, or that was condemned because most of it is dead, is
// rewritten: its named entries are copied to new packs, and its note leads there. Nothing can name
// other entries of it any more. A later pass, most of a day after that, counts again, and removes it
// like an unused pack. Until then a reader of a moment that was just dropped finds every entry.

const (
	// rewrittenAtOnce is how many packs are counted entry by entry at a time.
	rewrittenAtOnce = 1024
	// notesAtOnce is about how many notes that lead to them are held.
	notesAtOnce = 1 << 16
	// mostRewritten is how many bytes of packs a pass rewrites, unless Options say otherwise. The
	// others remain condemned until the next pass.
	mostRewritten = 16 << 30
	// droppedAge is how long a pack stays after its rewrite. The next night is late enough.
	droppedAge = 20 * time.Hour
	// mostNoted limits the entries in a note to what readers accept.
	mostNoted = 400_000
	// packSize is the size of new packs, unless Options say otherwise.
	packSize = 16 << 20
)

// rewriting is the rewrite of packs.
type rewriting struct {
	*pass
	do      *sorted
	packer  *packing.Packer
	objects *history.Objects // new packs of an earlier pass
	list    *condemnedNow
	older   map[Pack][]Pack // by pack: those about which a note leads to it
	waits   []*copied       // not complete, or in a pack that was not put yet
}

// copied is an old pack whose named entries are in new packs.
type copied struct {
	info objstore.Info
	at   map[string]packing.Placed // by entry
}

// rewrite rewrites packs, as many as the limit allows, and packs with erased bodies. It removes
// the packs that an earlier pass has rewritten.
func (p *pass) rewrite(ctx context.Context, do *sorted, leads *leadSet) error {
	packs, err := p.rewritable(ctx, do)
	if err != nil {
		return err
	}
	notes, err := notesTo(leads, packs)
	if err != nil {
		return err
	}
	p.left = p.opt.RewriteLimit
	for rest := packs; p.out.Blocking == 0; {
		var group []objstore.Info
		if group, rest = nextGroup(rest, p.left, do.free, notes); len(group) == 0 {
			break
		}
		if err := p.rewriteGroup(ctx, group, do, leads); err != nil {
			return err
		}
	}
	return nil
}

// rewritable returns the packs to rewrite or to remove, in order. A pack that was rewritten too short
// a time ago is not one of them.
func (p *pass) rewritable(ctx context.Context, do *sorted) (packs []objstore.Info, err error) {
	for _, info := range do.rewrite {
		if do.erased[info.Key] {
			do.free[info.Key] = true
			packs = append(packs, info)
			continue
		}
		m, note, err := history.ReadMoved(ctx, p.store, info.Key)
		switch {
		case errors.Is(err, objstore.ErrNotExist):
		case err != nil && !failed(err):
			p.out.block(info.Key, err)
			continue
		case err != nil:
			return nil, err
		case m.Unused != nil && *m.Unused && note.Modified.After(do.since[info.Key]):
			if !note.Modified.Add(droppedAge).Before(p.began) {
				continue
			}
			do.rewritten[info.Key], do.free[info.Key] = true, true
		}
		packs = append(packs, info)
	}
	return packs, nil
}

// nextGroup returns the packs that are handled next, and the others. There are few enough that their
// notes can be held. The packs have about as many bytes as are left, besides those in free.
func nextGroup(packs []objstore.Info, left int64, free map[string]bool, notes map[string]int) (group, rest []objstore.Info) {
	held := 0
	for i, info := range packs {
		if len(group) == rewrittenAtOnce || len(group) > 0 && held+notes[info.Key] > notesAtOnce {
			return group, append(rest, packs[i:]...)
		}
		if !free[info.Key] {
			if left <= 0 {
				rest = append(rest, info)
				continue
			}
			left -= info.Size
		}
		group, held = append(group, info), held+notes[info.Key]
	}
	return group, rest
}

// plan counts packs in a dry run.
func (p *pass) plan(packs []objstore.Info, do *sorted) {
	for _, info := range packs {
		if do.rewritten[info.Key] {
			p.out.Replaced.add(info.Size)
			continue
		}
		p.rewrote(info, do.free)
		if do.erased[info.Key] {
			p.out.Replaced.add(info.Size)
		}
	}
}

func (p *pass) rewriteGroup(ctx context.Context, packs []objstore.Info, do *sorted, leads *leadSet) (err error) {
	if p.opt.DryRun {
		p.plan(packs, do)
		return nil
	}
	c := &counting{pass: p}
	if c.wanted, c.notes, err = withLeads(leads, packs, p.unread); err != nil {
		return err
	}
	set, err := c.entries(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.close()) }()
	if p.out.Blocking > 0 {
		return nil
	}
	if key, ok := c.doubtfulNote(); ok {
		p.out.block(key, errDoubt)
		return nil
	}
	if err := keepLed(leads, c.doubt); err != nil {
		return err
	}
	if _, err := p.certain(ctx); err != nil { // the count may have taken hours
		return err
	}
	r := &rewriting{pass: p, do: do, packer: packing.New(p.store, p.opt.PackSize, p.opt.Pack), list: &condemnedNow{store: p.store},
		objects: history.NewObjects(withoutNotes{rangecache.New(p.store, 16<<20)}, 0)}
	if r.older, err = leadingTo(leads, packs); err != nil {
		return err
	}
	sorted, stop := readNamings(set)
	defer stop()
	for _, info := range packs {
		id, _ := packOf(info.Key)
		need, differ := sorted.neededOf(id)
		if sorted.err != nil {
			return sorted.err
		}
		if c.doubt[id] {
			differ = errDoubt
		}
		done, err := r.replace(ctx, info, need, differ)
		if err == nil && !done {
			err = r.copy(ctx, info, need, differ)
		}
		if err == nil {
			err = r.finish(ctx)
		}
		if err != nil {
			return err
		}
	}
	if err := r.packer.Flush(ctx); err != nil {
		return err
	}
	err = r.finish(ctx)
	packed, bytes := r.packer.Put()
	p.out.Written.Packs += packed
	p.out.Written.Bytes += bytes
	return err
}

// replace removes a pack that an earlier pass has rewritten, if other packs have all entries that
// are needed: it reads and compares them. These packs are not on the list: this pass may remove them,
// and would not know the older notes that lead there since then.
func (r *rewriting) replace(ctx context.Context, info objstore.Info, need needed, differ error) (done bool, err error) {
	if !r.do.rewritten[info.Key] || differ != nil {
		return false, nil
	}
	m, _, err := history.ReadMoved(ctx, r.store, info.Key)
	if err != nil {
		return false, err
	}
	for entry, chunk := range need {
		at := history.Place{Chunk: chunk, Object: m.Entries[entry], Entry: entry}
		if at.Object == "" || at.Object == info.Key {
			return false, nil
		}
		if r.do.listed(at.Object) {
			return false, nil
		}
		if err := history.CheckChunk(ctx, r.objects, at); err != nil {
			if failed(err) {
				return false, err
			}
			return false, nil // it is copied again
		}
	}
	// Older notes keep the entries that were dropped since the rewrite, like the note about this pack.
	maps.DeleteFunc(m.Entries, func(_, at string) bool { return at == info.Key || r.do.listed(at) })
	_, err = r.remove(ctx, info, m.Entries)
	return true, err
}

// withoutNotes hides moved/: the note about a pack must lead to a pack that exists, because readers
// follow one note only.
type withoutNotes struct{ objstore.Store }

// Get implements objstore.Store.
func (s withoutNotes) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	if strings.HasPrefix(key, movedPrefix) {
		return nil, &objstore.Error{Op: "get", Key: key, Err: objstore.ErrNotExist}
	}
	return s.Store.Get(ctx, key, off, n)
}

// remove removes a pack whose entries are in other packs.
func (r *rewriting) remove(ctx context.Context, info objstore.Info, now map[string]string) (removed bool, err error) {
	if on, err := r.list.has(ctx, info.Key); err != nil || !on {
		return false, err
	}
	id, _ := packOf(info.Key)
	err = r.removeOne(ctx, info.Key, now, r.older[id])
	if errors.Is(err, errNote) {
		r.out.keep(info.Key, err)
		return false, nil
	}
	if removed, err = r.removed(ctx, info.Key, err); removed {
		r.out.Replaced.add(info.Size)
	}
	return removed, err
}

// copy copies the needed entries of a pack, unless places differ about them. A pack that cannot be
// read completely is kept.
func (r *rewriting) copy(ctx context.Context, info objstore.Info, need needed, differ error) error {
	if on, err := r.list.has(ctx, info.Key); err != nil || !on {
		return err
	}
	c := &copied{info: info, at: map[string]packing.Placed{}}
	err := differ
	if err == nil {
		err = r.entries(ctx, c, need)
	}
	switch {
	case errors.Is(err, objstore.ErrNotExist) && !errors.Is(err, errCopy):
		return nil // another collector has removed it
	case err != nil && !errors.Is(err, errCopy) && !errors.Is(err, repository.ErrTemporaryFile) && !failed(err):
		r.out.keep(info.Key, fmt.Errorf("it cannot be rewritten: %w (if its bytes are damaged, ctl_backups verify --repair of any backup in the partition replaces it after two days)", err))
		return nil
	case err != nil:
		return err
	}
	r.waits = append(r.waits, c)
	return nil
}

// errDoubt reports a pack whose needed entries are not known.
var errDoubt = fmt.Errorf("%w: a commit named it that is now unreadable", history.ErrCorrupt)

// errCopy marks an error about a new pack.
var errCopy = errors.New("write a new pack")

func (r *rewriting) entries(ctx context.Context, c *copied, need needed) error {
	if len(need) > mostNoted {
		return fmt.Errorf("%w: it has %d entries that are used", history.ErrTooLarge, len(need))
	}
	if len(need) == 0 {
		return nil
	}
	body, _, drop, err := repository.ReadWhole(ctx, r.store, c.info.Key)
	if err != nil {
		return err
	}
	defer drop()
	dir, err := pack.ReadDirectory(func(off, n int64) (io.ReadCloser, error) {
		if off < 0 {
			off = max(body.Size()+off, 0)
			n = body.Size() - off
		}
		return io.NopCloser(io.NewSectionReader(body, off, n)), nil
	}, body.Size())
	if err != nil {
		return err
	}
	found := 0
	for _, e := range dir.Entries {
		chunk, ok := need[e.Name]
		if !ok {
			continue
		}
		b, err := readEntry(body, e, chunk)
		if err != nil {
			return err
		}
		at, err := r.packer.Add(ctx, history.InlineBody{Chunk: chunk, Entry: e.Name, Body: b}, r.private)
		if err != nil {
			return fmt.Errorf("%w: %w", errCopy, err)
		}
		c.at[e.Name] = at
		found++
	}
	if found != len(need) {
		return fmt.Errorf("%w: it lacks %d of %d entries that are named", history.ErrCorrupt, len(need)-found, len(need))
	}
	return nil
}

// readEntry reads an entry of a pack, and compares it with its hash.
func readEntry(body io.ReaderAt, e pack.Entry, chunk history.ChunkID) ([]byte, error) {
	b, err := pack.ReadBody(e, io.NewSectionReader(body, e.Off, e.Len))
	if err == nil && history.ChunkID(sha256.Sum256(b)) != chunk {
		err = fmt.Errorf("%w: the SHA-256 is not that of chunk %s", history.ErrCorrupt, chunk)
	}
	if err != nil {
		return nil, fmt.Errorf("entry %s: %w", e.Name, err)
	}
	return b, nil
}

// durable reports whether all entries are in packs that were put and read back.
func (c *copied) durable() bool {
	for _, at := range c.at {
		if at.Pack.Key == "" {
			return false
		}
	}
	return true
}

// finish notes where the entries are of packs whose entries are all durable, and removes packs
// with erased bodies.
func (r *rewriting) finish(ctx context.Context) error {
	for len(r.waits) > 0 && r.waits[0].durable() {
		c := r.waits[0]
		r.waits = r.waits[1:]
		if err := differs(c); err != nil {
			r.out.keep(c.info.Key, err)
			continue
		}
		now := make(map[string]string, len(c.at))
		for entry, at := range c.at {
			now[entry] = at.Pack.Key
		}
		done := r.noted
		if r.do.erased[c.info.Key] {
			done = r.remove
		}
		if ok, err := done(ctx, c.info, now); err != nil {
			return err
		} else if ok {
			r.rewrote(c.info, r.do.free)
		}
	}
	return nil
}

// noted notes where the entries of a pack are. The pack stays for a night.
func (r *rewriting) noted(ctx context.Context, info objstore.Info, now map[string]string) (ok bool, err error) {
	if on, err := r.list.has(ctx, info.Key); err != nil || !on {
		return false, err
	}
	err = r.noteRemoved(ctx, info.Key, now)
	if errors.Is(err, errNote) {
		r.out.keep(info.Key, err)
		return false, nil
	}
	return err == nil, err
}

// rewrote counts a pack that was rewritten. A pack that is kept leaves the limit to others.
func (p *pass) rewrote(info objstore.Info, free map[string]bool) {
	p.out.Rewritten.add(info.Size)
	if !free[info.Key] {
		p.left -= info.Size
	}
}

// differs returns an error if a new pack has the key of the old one. Every pack has random bytes, so
// something is wrong with them.
func differs(c *copied) error {
	for _, at := range c.at {
		if at.Pack.Key == c.info.Key {
			return errors.New("it cannot be rewritten: its copy has the same key, so the random numbers of this host repeat")
		}
	}
	return nil
}
