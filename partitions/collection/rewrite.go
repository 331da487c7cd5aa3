package collection

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/packing"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A condemned pack that is used after all, or that was condemned because most of it is dead, is
// rewritten: its named entries are copied to new packs, notes lead there, and then it is removed
// like an unused pack. Nothing can name other entries of it any more, so they are dropped.

const (
	// rewrittenAtOnce is how many packs are counted entry by entry at a time.
	rewrittenAtOnce = 1024
	// mostRewritten is how many bytes of packs a pass rewrites, unless Options say otherwise. The
	// others remain condemned until the next pass.
	mostRewritten = 4 << 30
	// mostNoted limits the entries in a note to what readers accept.
	mostNoted = 400_000
	// packSize is the size of new packs, unless Options say otherwise.
	packSize = 16 << 20
)

// rewriting is the rewrite of packs.
type rewriting struct {
	*pass
	packer *packing.Packer
	list   *condemnedNow
	older  map[Pack][]Pack // by pack: those about which a note leads to it
	waits  []*copied       // not complete, or in a pack that was not put yet
}

// copied is an old pack whose named entries are in new packs.
type copied struct {
	info objstore.Info
	at   map[string]packing.Placed // by entry
}

// rewrite rewrites packs, as many as the limit allows, and those with erased bodies. They are in
// order.
func (p *pass) rewrite(ctx context.Context, do *sorted, leads *leadSet) error {
	packs := p.withinLimit(do)
	if p.opt.DryRun {
		for _, info := range packs {
			p.out.Rewritten.add(info.Size)
		}
		return nil
	}
	for group := range slices.Chunk(packs, rewrittenAtOnce) {
		if err := p.rewriteGroup(ctx, group, leads); err != nil || p.out.Blocking > 0 {
			return err
		}
	}
	return nil
}

// withinLimit returns the packs that this pass rewrites.
func (p *pass) withinLimit(do *sorted) []objstore.Info {
	left := p.opt.RewriteLimit
	return slices.DeleteFunc(do.rewrite, func(info objstore.Info) bool {
		if do.erased[info.Key] {
			return false
		}
		over := left <= 0
		left -= info.Size
		return over
	})
}

func (p *pass) rewriteGroup(ctx context.Context, packs []objstore.Info, leads *leadSet) (err error) {
	c := &counting{pass: p}
	if c.wanted, c.notes, err = withLeads(leads, packs); err != nil {
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
	if err := keepLed(leads, c.doubt); err != nil {
		return err
	}
	if _, err := p.certain(ctx); err != nil { // the count may have taken hours
		return err
	}
	r := &rewriting{pass: p, packer: packing.New(p.store, p.opt.PackSize, p.opt.Pack), list: &condemnedNow{store: p.store}}
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
		err := r.copy(ctx, info, need, differ)
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
	case err != nil && !errors.Is(err, errCopy) && !failed(err):
		r.out.keep(info.Key, fmt.Errorf("it cannot be rewritten: %w (see ctl_backups verify)", err))
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
	r := pack.OpenEntry(e, io.NewSectionReader(body, e.Off, e.Len))
	b := make([]byte, e.Size)
	_, err := io.ReadFull(r, b)
	if err = errors.Join(err, r.Close()); err == nil && history.ChunkID(sha256.Sum256(b)) != chunk {
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

// finish removes the packs whose entries are all durable.
func (r *rewriting) finish(ctx context.Context) error {
	for len(r.waits) > 0 && r.waits[0].durable() {
		c := r.waits[0]
		r.waits = r.waits[1:]
		if on, err := r.list.has(ctx, c.info.Key); err != nil {
			return err
		} else if !on {
			continue
		}
		id, _ := packOf(c.info.Key)
		now := make(map[string]string, len(c.at))
		for entry, at := range c.at {
			now[entry] = at.Pack.Key
		}
		err := r.removeOne(ctx, c.info.Key, now, r.older[id])
		if errors.Is(err, errNote) {
			r.out.keep(c.info.Key, err)
			continue
		}
		if err != nil {
			return err
		}
		r.out.Rewritten.add(c.info.Size)
	}
	return nil
}
