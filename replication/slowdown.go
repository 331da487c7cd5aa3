package replication

import (
	"strings"
	"sync"
	"time"
)

// How refusals are slowed down: the first is answered at once, one that follows
// within forgetAfter waits a second more than the one before, up to maxDelay.
// The client waits patiently, and its loop of hundreds of connections a second
// becomes one of one in five seconds (client-behaviour.md 3, conclusion).
const (
	delayStep   = time.Second
	maxDelay    = 5 * time.Second
	forgetAfter = time.Minute
	// rememberMax bounds what is remembered; above it everything is forgotten,
	// which costs a few prompt answers.
	rememberMax = 10000
	// keyMax bounds each, in bytes: a client may call a user what it likes.
	keyMax = 200
)

// slowdown remembers who was refused lately. It belongs to the Server, since a
// client that spins makes a new connection each time.
type slowdown struct {
	now func() time.Time

	mu   sync.Mutex
	seen map[string]repeated
}

// refused notes a refusal about key and returns how long to hold it back.
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
	delay := min(time.Duration(r.count)*delayStep, maxDelay)
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
