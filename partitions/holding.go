package partitions

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// holding says which session works on a backup. A session takes it with its first
// command that names the backup and keeps it to the end of its unit of work, so that
// what it was told in GET still holds when it sends APPLY. It keeps sessions out of
// each other's way; that no commit is lost is the log's doing.
type holding struct {
	mu     sync.Mutex
	holder *Session
	freed  chan struct{} // closed when it becomes free, and made anew
}

func (h *holding) init() { h.freed = make(chan struct{}) }

// idleHolder is how long a session that is between two commands keeps a backup from
// others: a client that went away in mid-work must not lock its user out.
const idleHolder = 30 * time.Second

// take waits for the backup. In vain it gives ErrLocked after wait.
func (h *holding) take(ctx context.Context, s *Session, wait time.Duration) error {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		freed, ok := h.try(s)
		if ok {
			return nil
		}
		select {
		case <-freed:
		case <-look.C:
		case <-deadline.C:
			return fmt.Errorf("another connection works on it: %w", cyrus.ErrLocked)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (h *holding) try(s *Session) (<-chan struct{}, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.holder == nil || h.holder == s {
		h.holder = s
		return nil, true
	}
	if h.holder.idleFor() > idleHolder {
		h.holder.lost(h)
		h.holder = s
		return nil, true
	}
	return h.freed, false
}

func (h *holding) release(s *Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.holder != s {
		return
	}
	h.holder = nil
	close(h.freed)
	h.freed = make(chan struct{})
}
