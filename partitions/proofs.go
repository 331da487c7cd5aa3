package partitions

import (
	"sync"
	"time"
)

// proofs are the objects that this process has recently put, or asked the store for: a
// commit may name them without asking again.
type proofs struct {
	mu sync.Mutex
	at map[[32]byte]time.Time // by objectID; with the monotonic reading
}

const (
	// objectProvenFor is how long an object that was seen is taken to exist.
	objectProvenFor = condemnedFor
	// maxProofs bounds the memory: about 2 MiB for each partition.
	maxProofs = 1 << 14
)

func (p *proofs) add(id [32]byte, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.at) >= maxProofs {
		p.shrink(now)
	}
	if p.at == nil {
		p.at = map[[32]byte]time.Time{}
	}
	p.at[id] = now
}

// shrink forgets old proofs, and all of them when that is not enough: a request each.
func (p *proofs) shrink(now time.Time) {
	for id, at := range p.at {
		if now.Sub(at) > objectProvenFor {
			delete(p.at, id)
		}
	}
	if len(p.at) >= maxProofs {
		clear(p.at)
	}
}

func (p *proofs) has(id [32]byte, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.at[id]
	return ok && now.Sub(at) <= objectProvenFor
}

// had reports whether somebody may have relied on the object since the proofs were cleared.
func (p *proofs) had(id [32]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.at[id]
	return ok
}

func (p *proofs) drop(id [32]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.at, id)
}

func (p *proofs) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.at)
}
