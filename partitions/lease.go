package partitions

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// Lease records which connection works on a backup. A connection takes the lease with its
// first command that names the backup, and keeps it until the end of its unit of work. The
// response to GET is therefore still valid when the client sends APPLY. The lease only keeps
// connections from disturbing each other. The log ensures that no commit is lost.
type Lease struct {
	mu     sync.Mutex
	holder Holder
	freed  chan struct{} // closed and replaced when the lease becomes free
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

// idleHolder is how long a holder keeps the lease between two commands. A client that
// disappears in the middle of its work must not lock its user out.
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

// Release releases the lease if h holds it.
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
