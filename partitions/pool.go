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

// packPool holds the packs of a partition that are being filled or put. All
// connections share them: none owns one while it waits for its client, and their
// number bounds the memory.
type packPool struct {
	part  *Partition
	slots chan []byte // a token for each pack in memory, with a buffer to fill

	mu     sync.Mutex
	open   []*openPack
	opened chan struct{} // closed when open gets one more, and replaced
}

// openPack is a pack in memory: first filled, then put, then done.
type openPack struct {
	pool *packPool

	mu     sync.Mutex
	w      *pack.Writer
	names  map[string]struct{}
	chunks []packedChunk
	sealed bool

	done chan struct{} // closed when it is durable and the index shows it, or err is set
	err  error
	key  string // of the object, known when done
}

// packedChunk is one entry of a pack. guid is set for a whole message.
type packedChunk struct {
	id    history.ChunkID
	guid  cyrus.GUID
	whole bool
	size  int64
	// private: not to be found by other backups (a GUID that is suspicious).
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

// add compresses the chunk into one of the packs that are being filled. The chunk is
// durable when flush of the pack returns nil. It waits while all packs are being put.
// The repository comes before its packs: the index forgets the packs of any other.
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

// pick returns a locked pack that is being filled, preferring a pack that nobody is
// filling right now: compression of several connections runs side by side.
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
		// Half of the packs may be filled at a time: the others are being put meanwhile.
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
			// Somebody else got a buffer: who fills it may rest for long, so it is shared.
		case <-limit.Done():
			return nil, pp.part.unput(ctx, limit.Err())
		}
	}
}

// packSlack is what a pack may be longer than its target size, mostly: its last chunk
// and its directory.
const packSlack = 2 << 20

func (pp *packPool) fresh(buf []byte) *openPack {
	if buf == nil {
		// At once: one that grows copies what it holds, and leaves its former selves as garbage.
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

// sealLocked ends filling and begins the put. The pool's lock is taken inside of the pack's.
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

// flush makes the pack durable and waits for it.
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

// put stores the pack, however long the bucket is unreachable, and shows it in the index.
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
			level = slog.LevelInfo // it is logged at err, once for all packs
		}
		pp.part.set.log.Log(context.Background(), level, "a pack could not be stored: the mail in it will be asked for again",
			"partition", pp.part.name, "pack", p.key, "err", err)
	}
	p.w, p.names = nil, nil
	pp.slots <- obj
	close(p.done)
}

// store puts the object under its own hash: a repetition after an unclear answer
// writes the same bytes. Only the end of the daemon ends the waiting.
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
