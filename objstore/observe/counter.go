package observe

import (
	"maps"
	"sync"
)

// Counter counts events, for benchmarks and tests. The zero value is ready to use.
type Counter struct {
	mu  sync.Mutex
	ops map[string]Count
}

// Count is the total of one kind of operation.
type Count struct {
	Ops      int   // finished
	Requests int   // see Event.Requests
	Failed   int   // with any error
	Bytes    int64 // put or read
}

// Hooks returns hooks that count.
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

// Reset starts again from zero.
func (c *Counter) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops = nil
}
