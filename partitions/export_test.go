package partitions

import "time"

// ClockPause makes the second opinions about a store's time come sooner.
func (s *Set) ClockPause(d time.Duration) {
	for _, p := range s.parts {
		p.clock.pause = d
	}
}
