package maintenance

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

// newPack is a pack that is being built, or that was put.
type newPack struct {
	key    string // "" until it is durable and was read back
	bodies map[string]history.ChunkID
	at     time.Time // store time when it was put; zero = unknown
}

// placed is a body in a new pack.
type placed struct {
	pack  *newPack
	entry string
}

// knownBodies bounds the table of bodies that this run has packed: 10 MiB.
const knownBodies = 1 << 16

// packer moves inline bodies into packs. One packer serves all backups of a partition, so
// that the few messages of a day of one user do not need a separate pack.
type packer struct {
	store objstore.Store
	size  int64 // of a pack
	opt   pack.Options

	w     *pack.Writer
	now   *newPack
	known map[history.ChunkID]placed
	put   int   // packs
	bytes int64 // of packs
}

func newPacker(s objstore.Store, size int64, o pack.Options) *packer {
	return &packer{store: s, size: size, opt: o, known: map[history.ChunkID]placed{}}
}

// add adds a body, unless this run has packed its bytes before. A private body shares its
// place with no other.
func (p *packer) add(ctx context.Context, b history.InlineBody, private bool) (placed, error) {
	if at, ok := p.known[b.Chunk]; ok && !private && at.entry == b.Entry {
		return at, nil
	}
	if p.w != nil {
		_, taken := p.now.bodies[b.Entry] // by other bytes with the same name
		if taken || int64(p.w.Len()+len(b.Body)) > p.size {
			if err := p.flush(ctx); err != nil {
				return placed{}, err
			}
		}
	}
	if p.w == nil {
		p.w, p.now = pack.NewWriter(nil, p.opt), &newPack{bodies: map[string]history.ChunkID{}}
	}
	if err := p.w.Add(b.Entry, b.Body); err != nil {
		return placed{}, err
	}
	p.now.bodies[b.Entry] = b.Chunk
	at := placed{p.now, b.Entry}
	if !private {
		if len(p.known) >= knownBodies {
			clear(p.known)
		}
		p.known[b.Chunk] = at
	}
	return at, nil
}

// flush puts the pack, and reads it back.
func (p *packer) flush(ctx context.Context) error {
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

func (p *packer) write(ctx context.Context, w *pack.Writer, n *newPack) error {
	object, err := w.Finish()
	if err != nil {
		return err
	}
	key := history.PackKey(sha256.Sum256(object))
	info, err := p.store.Put(ctx, key, bytes.NewReader(object), objstore.PutOptions{})
	if err != nil {
		return err
	}
	n.at = info.StoreTime
	if err := n.readBack(ctx, p.store, key); err != nil {
		return fmt.Errorf("read back %s: %w", key, err)
	}
	n.key = key
	p.put++
	p.bytes += int64(len(object))
	return nil
}

// readBack reads every body of the pack from the store.
func (n *newPack) readBack(ctx context.Context, s objstore.Store, key string) error {
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
