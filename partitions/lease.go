package partitions

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// Lease records which connection works on a backup. A connection takes it with its first
// command that names the backup and keeps it to the end of its unit of work, so that what
// GET reported still holds when it sends APPLY. The lease keeps connections out of each
// other's way; the log keeps commits from being lost.
type Lease struct {
	mu     sync.Mutex
	holder Holder
	freed  chan struct{} // closed when the lease becomes free, and replaced
}

// Holder is a connection that holds leases.
type Holder interface {
	// IdleFor is the time since the last command ended; 0 while one is running.
	IdleFor() time.Duration
	// LeaseLost reports that another holder took the lease from this idle one. It is
	// called with the lease locked.
	LeaseLost(*Lease)
}

func newLease() Lease { return Lease{freed: make(chan struct{})} }

// idleHolder is how long a holder between two commands keeps a backup from others: a
// client that disappears in the middle of its work must not lock its user out.
const idleHolder = 30 * time.Second

// Take waits for the lease. It returns cyrus.ErrLocked after wait.
func (l *Lease) Take(ctx context.Context, h Holder, wait time.Duration) error {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		freed, ok := l.try(h)
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

// Free reports whether h could take the lease now.
func (l *Lease) Free(h Holder) bool {
	_, ok := l.try(h)
	if ok {
		l.Release(h)
	}
	return ok
}

func (l *Lease) try(h Holder) (<-chan struct{}, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder == nil || l.holder == h {
		l.holder = h
		return nil, true
	}
	if l.holder.IdleFor() > idleHolder {
		l.holder.LeaseLost(l)
		l.holder = h
		return nil, true
	}
	return l.freed, false
}

// Release gives the lease up if h holds it.
func (l *Lease) Release(h Holder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder != h {
		return
	}
	l.holder = nil
	close(l.freed)
	l.freed = make(chan struct{})
}
