package partitions

import (
	"context"
	"errors"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// lockView is the daemon's knowledge of the lock of a backup. The log announces each lock, so
// in the steady state nobody asks the store for it.
type lockView byte

const (
	lockUnknown lockView = iota // not checked by this process
	lockNone                    // no lock unless a LockedEvent announces one
	lockMaybe                   // a lock was seen or announced
)

// noteLock records that an event announces a lock.
func (b *Backup) noteLock(e history.Event) {
	if _, ok := e.(*history.LockedEvent); ok {
		b.lock = lockMaybe
	}
}

// checkLock waits for a lock to end, as long as the retry policy of ctx allows, and then
// returns ErrLocked. It asks the store only if there may be a lock. The caller holds the
// commit mutex.
func (b *Backup) checkLock(ctx context.Context) error {
	_, err := b.outwaitLock(ctx)
	return err
}

// outwaitLock is checkLock. waited reports that there was a lock, whose holder may have
// written to the log.
func (b *Backup) outwaitLock(ctx context.Context) (waited bool, err error) {
	if b.entry == nil || b.lock == lockNone {
		return false, nil
	}
	waited, err = b.part.outwaitLock(ctx, b.path)
	switch {
	case err == nil:
		b.lock = lockNone
	case waited:
		b.lock = lockMaybe
	}
	return waited, err
}

// lockWait is how long a command waits for a lock to end. Each lock is waited for only once,
// because other users may be waiting on the same connection, and a long move or repair takes
// hours.
const lockWait = 30 * time.Second

// outwaitLock waits for the lock of a backup to end.
func (p *Partition) outwaitLock(ctx context.Context, path string) (waited bool, err error) {
	pat := policyOf(ctx)
	ctx = withRetryPolicy(ctx, retryPolicy{min(pat.wait, lockWait), pat.spent})
	var last *repository.LockFile
	err = await0(ctx, func() error {
		l, info, err := repository.ReadLock(ctx, p.store, path)
		if err != nil {
			return err
		}
		if p.lease(path, l, info.ETag, p.StoreNow(ctx, time.Time{})) != repository.LeaseFree {
			waited, last = true, l
			return &objstore.Error{Op: "get", Key: repository.LockKey(path), Temporary: !p.outwaited(path, l), Err: l.HeldError()}
		}
		return nil
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		delete(p.heldLong, path)
	case last != nil && pat.spent != nil && errors.Is(err, repository.ErrHeld):
		if p.heldLong == nil {
			p.heldLong = map[string]string{}
		}
		p.heldLong[path] = last.ID
	}
	return waited, err
}

// outwaited reports whether a command has already waited for this lock without success.
func (p *Partition) outwaited(path string, l *repository.LockFile) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return l != nil && p.heldLong[path] == l.ID
}

// lease checks the lock of a backup. Its observations are kept from one command to the next,
// because a deferred client retries.
func (p *Partition) lease(path string, l *repository.LockFile, etag string, now time.Time) repository.LeaseState {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.leases[path]
	if w == nil {
		w = &repository.LeaseWatch{}
	}
	state := w.Look(l, etag, now)
	if state == repository.LeaseFree {
		delete(p.leases, path)
		return state
	}
	if p.leases == nil {
		p.leases = map[string]*repository.LeaseWatch{}
	}
	p.leases[path] = w
	return state
}
