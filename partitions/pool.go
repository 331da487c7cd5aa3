package partitions

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// packPool holds the packs of a partition that are being filled or put. All connections share
// them, so no connection owns a pack while it waits for its client, and the number of packs
// limits the memory.
type packPool struct {
	part  *Partition
	slots chan []byte // a token for each pack in memory, with a buffer to fill

	mu     sync.Mutex
	open   []*openPack
	opened chan struct{} // closed when open gets another pack, and replaced
}

// openPack is a pack in memory: first filled, then put, then done.
type openPack struct {
	pool *packPool

	mu     sync.Mutex
	w      *pack.Writer
	names  map[string]struct{}
	chunks []packedChunk
	sealed bool

	done chan struct{} // closed when the pack is durable and in the index, or err is set
	err  error
	key  string // of the object, set when done
}

// packedChunk is one entry of a pack. guid is set for a whole message.
type packedChunk struct {
	id    history.ChunkID
	guid  cyrus.GUID
	whole bool
	size  int64
	// private hides the entry from other backups (its GUID is suspicious).
	private bool
}

func (c packedChunk) entry() string {
	if c.whole {
		return c.guid.String() + ".eml"
	}
	return hex.EncodeToString(c.id[:]) + ".part"
}

func newPackPool(p *Partition) *packPool {
	pp := &packPool{part: p, slots: make(chan []byte, p.set.opt.PackBuffers), opened: make(chan struct{})}
	for range p.set.opt.PackBuffers {
		pp.slots <- nil
	}
	return pp
}

// add compresses the chunk into one of the packs that are being filled. It waits while all
// packs are being put. The chunk is durable when flush of the returned pack returns nil. The
// repository must exist before its packs, because the index forgets the packs of any other
// repository.
func (pp *packPool) add(ctx context.Context, c packedChunk, body []byte) (*openPack, error) {
	if _, err := pp.part.repository(ctx, true); err != nil {
		return nil, err
	}
	for {
		p, err := pp.pick(ctx)
		if err != nil {
			return nil, err
		}
		if p.sealed {
			p.mu.Unlock()
			continue
		}
		name := c.entry()
		if _, twice := p.names[name]; !twice {
			if err := p.w.Add(name, body); err != nil {
				p.mu.Unlock()
				return nil, fmt.Errorf("pack %s: %w", name, err)
			}
			p.names[name] = struct{}{}
			p.chunks = append(p.chunks, c)
		}
		if int64(p.w.Len()) >= pp.part.set.opt.PackSize {
			p.sealLocked()
		}
		p.mu.Unlock()
		return p, nil
	}
}

// pick returns a locked pack that is being filled. It prefers a pack that no other connection
// is filling right now, so that several connections compress in parallel.
func (pp *packPool) pick(ctx context.Context) (*openPack, error) {
	limit, stop := pp.part.limitedPut(ctx)
	defer stop()
	for {
		pp.mu.Lock()
		for _, p := range pp.open {
			if p.mu.TryLock() {
				pp.mu.Unlock()
				return p, nil
			}
		}
		var first *openPack
		// At most half of the packs are filled at a time, while the others are being put.
		if len(pp.open) > 0 && len(pp.open) >= (cap(pp.slots)+1)/2 {
			first = pp.open[0]
		}
		opened := pp.opened
		pp.mu.Unlock()
		if first != nil {
			first.mu.Lock()
			return first, nil
		}
		select {
		case buf := <-pp.slots:
			return pp.fresh(buf), nil
		case <-opened:
			// Another connection got a buffer. It may pause for long while filling it, so
			// share it.
		case <-limit.Done():
			return nil, pp.part.unput(ctx, limit.Err())
		}
	}
}

// packSlack is how far a pack usually exceeds its target size: by its last chunk and its
// directory.
const packSlack = 2 << 20

func (pp *packPool) fresh(buf []byte) *openPack {
	if buf == nil {
		// Allocate the full size now: a growing buffer copies its content and leaves the old
		// arrays as garbage.
		buf = make([]byte, 0, pp.part.set.opt.PackSize+packSlack)
	}
	p := &openPack{
		pool: pp, names: map[string]struct{}{}, done: make(chan struct{}),
		w: pack.NewWriter(buf[:0], pp.part.set.opt.Pack),
	}
	p.mu.Lock()
	pp.mu.Lock()
	pp.open = append(pp.open, p)
	close(pp.opened)
	pp.opened = make(chan struct{})
	pp.mu.Unlock()
	return p
}

// sealLocked stops filling the pack and starts the put. It takes the pool's lock inside the
// pack's.
func (p *openPack) sealLocked() {
	p.sealed = true
	pp := p.pool
	pp.mu.Lock()
	for i, o := range pp.open {
		if o == p {
			pp.open = append(pp.open[:i], pp.open[i+1:]...)
			break
		}
	}
	pp.mu.Unlock()
	pp.part.set.work.Go(p.put)
}

// flush seals the pack and waits until it is durable.
func (p *openPack) flush(ctx context.Context) error {
	p.mu.Lock()
	if !p.sealed {
		p.sealLocked()
	}
	p.mu.Unlock()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isDone reports whether the pack has been put, without waiting.
func (p *openPack) isDone() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// put stores the pack, retrying while the bucket is unreachable, and adds it to the index.
func (p *openPack) put() {
	pp := p.pool
	obj, _, err := p.w.Finish()
	if err == nil {
		sum := sha256.Sum256(obj)
		p.key = history.PackKey(sum)
		err = pp.store(p.key, obj)
	}
	if err == nil {
		err = pp.part.indexPack(p.key, p.chunks)
	}
	if err != nil {
		p.err = fmt.Errorf("put pack: %w", err)
		level := slog.LevelError
		if pp.part.set.metStore(err) {
			level = slog.LevelInfo // already logged as an error, once for all packs
		}
		pp.part.set.log.Log(context.Background(), level, "a pack could not be stored: the mail in it will be asked for again",
			"partition", pp.part.name, "pack", p.key, "err", err)
	}
	p.w, p.names = nil, nil
	pp.slots <- obj
	close(p.done)
}

// store puts the object under its own hash, so retrying after an unclear answer writes the
// same bytes. Only the end of the daemon ends the retries.
func (pp *packPool) store(key string, obj []byte) error {
	ctx := withRetryPolicy(pp.part.set.life, retryPolicy{wait: 1000 * time.Hour})
	epoch := pp.part.epoch.Load()
	err := await0(ctx, func() error {
		_, err := pp.part.store.Put(ctx, key, bytes.NewReader(obj), objstore.PutOptions{})
		return err
	})
	if err == nil {
		pp.part.saw(key, epoch)
	}
	return err
}
