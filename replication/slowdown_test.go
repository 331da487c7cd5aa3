package replication

import (
	"strings"
	"testing"
	"time"
)

// What is remembered of refusals stays small, whatever a client has named.
func TestSlowdownRemembersLittle(t *testing.T) {
	s := slowdown{now: time.Now}
	s.refused(strings.Repeat("x", 1<<20))
	for key := range s.seen {
		if len(key) > keyMax {
			t.Errorf("%d bytes are remembered", len(key))
		}
	}
}
