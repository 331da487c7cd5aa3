package imapdest

import (
	"math/bits"
	"sync"
)

// enough is how often a risk is looked at before the server's way with it is believed.
const enough = 3

// manners are what a server was seen to do with messages. Many sessions share them.
type manners struct {
	mu      sync.Mutex
	against uint // forms, as bits, that it was seen not to follow
	strange bool // it follows none
	seen    [8]int
}

// learn compares what the server serves of a message with what each form makes of it.
// Without a fitting form, nothing can be said of what the server does.
func (m *manners) learn(e *expectation, got digest) (fits bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var against uint
	for i := range forms {
		if e.by[i] != got {
			against |= 1 << i
		}
	}
	if bits.OnesCount(m.against|against) == len(forms) {
		m.strange = true
		return false
	}
	m.against |= against
	for i := range m.seen {
		if e.risks&(1<<i) != 0 {
			m.seen[i]++
		}
	}
	return true
}

// possible yields the digests under which the server may serve a message that it changes.
func (m *manners) possible(e *expectation) []digest {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []digest
	for i, f := range forms {
		if m.against&(1<<i) == 0 && f.differs(e.risks) {
			out = append(out, e.by[i])
		}
	}
	return out
}

// certain says what the server serves of a message, if that is known.
func (m *manners) certain(e *expectation) (digest, bool) {
	if e.risks == 0 {
		return e.by[0], true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.seen {
		if e.risks&(1<<i) != 0 && m.seen[i] < enough {
			return digest{}, false
		}
	}
	var one digest
	for i := range forms {
		switch {
		case m.against&(1<<i) != 0:
		case one == digest{}:
			one = e.by[i]
		case one != e.by[i]:
			return digest{}, false
		}
	}
	return one, true
}

func (m *manners) isStrange() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.strange
}
