// Package packing moves bodies into new packs, and proves each pack by reading it back. Merging
// (package maintenance) and the rewrite of packs (package collection) use it.
package packing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Pack is a pack that is being built, or that was put.
type Pack struct {
	Key string    // "" until it is durable and was read back
	At  time.Time // store time when it was put; zero = unknown

	bodies map[string]history.ChunkID
}

// Placed is a body in a new pack.
type Placed struct {
	Pack  *Pack
	Entry string
}

// knownBodies bounds the table of bodies that this run has packed: 10 MiB.
const knownBodies = 1 << 16

// Packer moves bodies into packs. One Packer serves all backups of a partition, so that the
// few messages of a day of one user do not need a separate pack.
type Packer struct {
	store objstore.Store
	size  int64 // of a pack
	opt   pack.Options

	w     *pack.Writer
	now   *Pack
	known map[history.ChunkID]Placed
	put   int   // packs
	bytes int64 // of packs

	announce func(ctx context.Context, key string) error
}

// New returns a Packer that puts packs of about size bytes.
func New(s objstore.Store, size int64, o pack.Options) *Packer {
	return &Packer{store: s, size: size, opt: o, known: map[history.ChunkID]Placed{}}
}

// Announce makes the Packer call fn before it puts a pack. An error keeps the pack from being put.
func (p *Packer) Announce(fn func(ctx context.Context, key string) error) { p.announce = fn }

// Put returns the number of packs that were put, and their bytes.
func (p *Packer) Put() (packs int, bytes int64) { return p.put, p.bytes }

// Forget makes the Packer pack bodies again that it has packed before.
func (p *Packer) Forget() { clear(p.known) }

// Add adds a body, unless this run has packed its bytes before. A private body shares its
// place with no other.
func (p *Packer) Add(ctx context.Context, b history.InlineBody, private bool) (Placed, error) {
	if at, ok := p.known[b.Chunk]; ok && !private && at.Entry == b.Entry {
		return at, nil
	}
	if p.w != nil {
		_, taken := p.now.bodies[b.Entry] // by other bytes with the same name
		if taken || int64(p.w.Len()+len(b.Body)) > p.size {
			if err := p.Flush(ctx); err != nil {
				return Placed{}, err
			}
		}
	}
	if p.w == nil {
		p.w, p.now = pack.NewWriter(nil, p.opt), &Pack{bodies: map[string]history.ChunkID{}}
	}
	if err := p.w.Add(b.Entry, b.Body); err != nil {
		return Placed{}, err
	}
	p.now.bodies[b.Entry] = b.Chunk
	at := Placed{p.now, b.Entry}
	if !private {
		if len(p.known) >= knownBodies {
			clear(p.known)
		}
		p.known[b.Chunk] = at
	}
	return at, nil
}

// Flush puts the pack, and reads it back.
func (p *Packer) Flush(ctx context.Context) error {
	if p.w == nil {
		return nil
	}
	w, n := p.w, p.now
	p.w, p.now = nil, nil
	err := p.write(ctx, w, n)
	if err != nil {
		clear(p.known) // it may name the pack that failed
	}
	return err
}

func (p *Packer) write(ctx context.Context, w *pack.Writer, n *Pack) error {
	object, err := w.Finish()
	if err != nil {
		return err
	}
	key := history.PackKey(sha256.Sum256(object))
	if p.announce != nil {
		if err := p.announce(ctx, key); err != nil {
			return fmt.Errorf("announce %s: %w", key, err)
		}
	}
	info, err := p.store.Put(ctx, key, bytes.NewReader(object), objstore.PutOptions{})
	if err != nil {
		return err
	}
	n.At = info.StoreTime
	if err := n.readBack(ctx, p.store, key); err != nil {
		return fmt.Errorf("read back %s: %w", key, err)
	}
	n.Key = key
	p.put++
	p.bytes += int64(len(object))
	return nil
}

// readBack reads every body of the pack from the store.
func (n *Pack) readBack(ctx context.Context, s objstore.Store, key string) error {
	if err := history.CheckObject(ctx, s, key); err != nil {
		return err
	}
	o, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return err
	}
	defer o.Close()
	found := 0
	err = pack.Scan(o, func(name string, _ int64, body io.Reader) error {
		sum := sha256.New()
		if _, err := io.Copy(sum, body); err != nil {
			return err
		}
		chunk, ok := n.bodies[name]
		if !ok || chunk != history.ChunkID(sum.Sum(nil)) {
			return fmt.Errorf("%w: entry %s has other bytes than were put", history.ErrCorrupt, name)
		}
		found++
		return nil
	})
	if err == nil && found != len(n.bodies) {
		err = fmt.Errorf("%w: %d entries instead of %d", history.ErrCorrupt, found, len(n.bodies))
	}
	return err
}
