package observe

import (
	"maps"
	"sync"
)

// Counter adds events up, for benches and tests. The zero value is ready.
type Counter struct {
	mu  sync.Mutex
	ops map[string]Count
}

// Count is what one kind of operation came to.
type Count struct {
	Ops      int   // finished
	Requests int   // see Event.Requests
	Failed   int   // with any error
	Bytes    int64 // put or read
}

// Hooks count.
func (c *Counter) Hooks() Hooks { return Hooks{End: c.add} }

func (c *Counter) add(e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ops == nil {
		c.ops = make(map[string]Count)
	}
	n := c.ops[e.Op]
	n.Ops++
	n.Requests += e.Requests()
	n.Bytes += e.Bytes
	if e.Err != nil {
		n.Failed++
	}
	c.ops[e.Op] = n
}

// Snapshot returns a copy of the counts by operation.
func (c *Counter) Snapshot() map[string]Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.ops)
}

// Reset starts from zero.
func (c *Counter) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops = nil
}
