package history

import "time"

// FromTool reports whether an event contains no data from a mail server: locks, moves and
// maintenance write commits, too.
func FromTool(e Event) bool {
	switch e.(type) {
	case *LockedEvent, *SealedEvent, *RetainedEvent, *PruneEvent, *BridgedEvent, *LostEvent, *ErasedEvent:
		return true
	}
	return false
}

// Plausible reports whether the store time of a commit can be believed without reading earlier
// commits: it is then what Log.Made returns. now is the reader's clock.
func Plausible(h Header, now time.Time) bool {
	t := Times{Now: now}
	return !t.ahead(h.Time) && t.confirmed(h)
}
