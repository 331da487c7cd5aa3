package replication

import (
	"strings"
	"sync"
	"time"
)

// Refusals are slowed down: the first one is answered at once. Each refusal within
// forgetAfter of the previous one waits a second longer, up to five seconds. The client waits
// for the answer, and its loop of hundreds of connections a second becomes one connection
// every five seconds (client-behaviour.md 3, conclusion).
const (
	delayStep   = time.Second
	maxSteps    = 5
	forgetAfter = time.Minute
	// rememberMax limits the number of remembered refusals. Above it all are forgotten,
	// which costs a few prompt answers.
	rememberMax = 10000
	// keyMax limits each key, in bytes: a client may choose any user name.
	keyMax = 200
)

// slowdown remembers recent refusals. It belongs to the Server because a client that loops
// makes a new connection each time.
type slowdown struct {
	now   func() time.Time
	step  time.Duration
	steps int // the most

	mu   sync.Mutex
	seen map[string]repeated
}

// refused records a refusal about key and returns how long to delay the answer.
func (s *slowdown) refused(key string) time.Duration {
	if len(key) > keyMax {
		key = strings.Clone(key[:keyMax])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	r, ok := s.seen[key]
	if !ok || now.Sub(r.last) > forgetAfter {
		r = repeated{}
	}
	delay := time.Duration(min(r.count, s.steps)) * s.step
	if s.seen == nil || len(s.seen) >= rememberMax && !ok {
		s.seen = make(map[string]repeated)
	}
	s.seen[key] = repeated{count: r.count + 1, last: now}
	return delay
}

// repeated counts the refusals of one key.
type repeated struct {
	count int
	last  time.Time
}
