package partitions

import (
	"bytes"
	"context"
	"crypto/sha256"
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
	slots chan struct{} // a token for each pack that may be in memory

	mu     sync.Mutex
	idle   *packMemory // for the next pack
	open   []*openPack
	opened chan struct{} // closed when open gets another pack, and replaced
}

// packMemory is the memory of one pack after the other.
type packMemory struct {
	w      *pack.Writer
	chunks []packedChunk
}

// openPack is a pack in memory: first filled, then put, then done.
type openPack struct {
	pool *packPool

	mu     sync.Mutex
	mem    *packMemory // nil once it is put
	sealed bool

	done chan struct{} // closed when the pack is durable and in the index, or err is set
	// The following fields are set when done.
	err    error
	key    string    // of the object
	number uint64    // in the index
	losses lossState // of the partition, before the put
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

// name names the entry in the pack.
func (c *packedChunk) name() pack.Name {
	if c.whole {
		return pack.MessageName(c.guid)
	}
	return pack.PieceName(c.id)
}

func (c packedChunk) entry() string { return c.name().String() }

func newPackPool(p *Partition) *packPool {
	pp := &packPool{part: p, slots: make(chan struct{}, p.set.opt.PackBuffers), opened: make(chan struct{})}
	for range p.set.opt.PackBuffers {
		pp.slots <- struct{}{}
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
		err = p.fillLocked(&c, body)
		p.mu.Unlock()
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", c.entry(), err)
		}
		return p, nil
	}
}

// maxPackChunks limits the memory that the list of chunks of a pack takes.
const maxPackChunks = 1 << 15

// fillLocked adds the chunk, unless the pack has it, and seals a full pack.
func (p *openPack) fillLocked(c *packedChunk, body []byte) error {
	m := p.mem
	if name := c.name(); !m.w.Has(name) {
		if err := m.w.Put(name, body); err != nil {
			return err
		}
		m.chunks = append(m.chunks, *c)
	}
	if int64(m.w.Len()) >= p.pool.part.set.opt.PackSize || len(m.chunks) >= maxPackChunks {
		p.sealLocked()
	}
	return nil
}

// pick returns a locked pack that is being filled. It prefers a pack that no other connection
// is filling right now, so that several connections compress in parallel.
func (pp *packPool) pick(ctx context.Context) (*openPack, error) {
	// Most calls do not wait, and need no timer.
	p, opened := pp.filling()
	if p != nil {
		return p, nil
	}
	select {
	case <-pp.slots:
		return pp.fresh(), nil
	default:
	}
	limit, stop := pp.part.limitedPut(ctx)
	defer stop()
	for {
		select {
		case <-pp.slots:
			return pp.fresh(), nil
		case <-opened:
			// Another connection got a buffer. It may pause for long while filling it, so
			// share it.
		case <-limit.Done():
			return nil, pp.part.unput(ctx, limit.Err())
		}
		if p, opened = pp.filling(); p != nil {
			return p, nil
		}
	}
}

// filling returns a locked pack that is being filled, or nil if another one should be opened.
// opened is closed when another connection opens one.
func (pp *packPool) filling() (p *openPack, opened <-chan struct{}) {
	pp.mu.Lock()
	for _, p := range pp.open {
		if p.mu.TryLock() {
			pp.mu.Unlock()
			return p, nil
		}
	}
	// At most half of the packs are filled at a time, while the others are being put.
	if len(pp.open) > 0 && len(pp.open) >= (cap(pp.slots)+1)/2 {
		p = pp.open[0]
	}
	opened = pp.opened
	pp.mu.Unlock()
	if p != nil {
		p.mu.Lock()
	}
	return p, opened
}

// packSlack is how far a pack usually exceeds its target size: by its last chunk and its
// directory.
const packSlack = 2 << 20

// fresh opens a pack. The caller has taken a token.
func (pp *packPool) fresh() *openPack {
	p := &openPack{pool: pp, mem: pp.memory(), done: make(chan struct{})}
	p.mu.Lock()
	pp.mu.Lock()
	pp.open = append(pp.open, p)
	close(pp.opened)
	pp.opened = make(chan struct{})
	pp.mu.Unlock()
	return p
}

// memory returns the idle memory, or allocates the full size: a growing buffer copies its content
// and leaves the old arrays as garbage.
func (pp *packPool) memory() *packMemory {
	pp.mu.Lock()
	mem := pp.idle
	pp.idle = nil
	pp.mu.Unlock()
	if mem == nil {
		buf := make([]byte, 0, pp.part.set.opt.PackSize+packSlack)
		mem = &packMemory{w: pack.NewWriter(buf, pp.part.set.opt.Pack)}
	}
	return mem
}

// giveBack keeps the memory of one pack. While one client sends messages, two are in use, or all
// while many do. The records of a mailbox need the rest of the memory afterwards.
func (pp *packPool) giveBack(mem *packMemory) {
	mem.w.Reset()
	mem.chunks = mem.chunks[:0]
	pp.mu.Lock()
	pp.idle = mem
	pp.mu.Unlock()
	pp.slots <- struct{}{}
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
	mem := p.mem
	p.losses = pp.part.lossState()
	obj, err := mem.w.Finish()
	if err == nil {
		sum := sha256.Sum256(obj)
		p.key = history.PackKey(sum)
		if err = pp.store(p.key, obj); err == nil {
			pp.part.counters.packed(int64(len(obj)))
		}
	}
	if err == nil {
		p.number, err = pp.part.indexPack(p.key, mem.chunks)
	}
	if err == nil {
		pp.part.recent.add(p, mem.chunks)
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
	p.mem = nil
	pp.giveBack(mem)
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
