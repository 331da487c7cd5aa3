package imapdest

import (
	"math/bits"
	"sync"
)

// enough is how many messages with a risk are examined before the server's behaviour is trusted.
const enough = 3

// behaviour is how a server was seen to change messages. Many sessions share it.
type behaviour struct {
	mu      sync.Mutex
	against uint // forms, as bits, that do not match
	strange bool // no form matches
	seen    [8]int
}

// learn compares the bytes that the server returns for a message with each form. If no form
// matches, the server's behaviour is unpredictable.
func (m *behaviour) learn(e *expectation, got digest) (fits bool) {
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

// possible returns the digests that the server may return for a message that it changes.
func (m *behaviour) possible(e *expectation) []digest {
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

// certain returns the digest that the server returns for a message, if it is known.
func (m *behaviour) certain(e *expectation) (digest, bool) {
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

func (m *behaviour) isStrange() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.strange
}
