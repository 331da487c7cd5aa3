package partitions

import (
	"sync"
	"time"
)

// proofs are the objects that this process has recently put or confirmed with the store. A
// commit may name them without another request.
type proofs struct {
	mu sync.Mutex
	at map[[32]byte]time.Time // by objectID; with the monotonic reading
}

const (
	// objectProvenFor is how long an object counts as existing after it was seen.
	objectProvenFor = condemnedFor
	// maxProofs limits the memory to about 2 MiB per partition.
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

// shrink forgets old proofs, or all proofs if that is not enough. Each forgotten proof costs
// one request.
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
	return ok && apart(at, now) <= objectProvenFor // a host may have slept meanwhile
}

// had reports whether a commit may have relied on the object since the proofs were cleared.
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
