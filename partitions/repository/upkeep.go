package repository

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
)

// ErrUpkeep reports that another program merges, removes or erases objects of the backup,
// or of the partition. It wraps cyrus.ErrLocked.
var ErrUpkeep error = upkeepError{}

type upkeepError struct{}

func (upkeepError) Error() string { return "another program is compacting it" }
func (upkeepError) Unwrap() error { return cyrus.ErrLocked }

// UpkeepKey is the key of the lease of a backup's upkeep.
func UpkeepKey(path string) string { return BackupPrefix(path) + upkeepName }

// upkeepName is the last element of UpkeepKey.
const upkeepName = "upkeep.json"

// CollectionKey is the key of the lease of a partition's collection.
const CollectionKey = "upkeep.json"

// CheckUpkeepFile returns an error if the lease with this key cannot be read. The next upkeep
// replaces it.
func CheckUpkeepFile(ctx context.Context, s objstore.Store, key string) error {
	_, _, err := readLease(ctx, s, key)
	return err
}

// Upkeep is the right to merge and remove objects of a backup, or unused packs of a
// partition. It excludes other upkeep on all hosts, but no daemon.
type Upkeep struct {
	*holder
	found  *Found // nil: the lease is of a partition, or the backup was not listed
	listed *listing
}

// BeginUpkeep takes the lease upkeep.json of a backup, as Leases.Begin does, and reads its holds.
func BeginUpkeep(ctx context.Context, f *Found, o LockOptions) (*Upkeep, error) {
	u, err := NewLeases(f.Partition, o).Begin(ctx, f)
	if err != nil {
		return nil, err
	}
	if err := u.CheckHolds(f); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), u.End(context.WithoutCancel(ctx)))
	}
	return u, nil
}

// ExcludeUpkeep is BeginUpkeep for a program that removes nothing for good: it moves the
// backup, repairs it or sets it aside.
func ExcludeUpkeep(ctx context.Context, f *Found, o LockOptions) (*Upkeep, error) {
	return NewLeases(f.Partition, o).exclude(ctx, f)
}

// BeginCollection takes the lease of a partition's collection. The error is ErrUpkeep if
// another program has it.
func BeginCollection(ctx context.Context, p Config, o LockOptions) (*Upkeep, error) {
	return NewLeases(p, o).take(ctx, CollectionKey, "partition "+p.Name, nil)
}

// Context ends when the lease can no longer be renewed, and at End. Every request of the
// upkeep is made in it, so that no request begins after the lease.
func (u *Upkeep) Context() context.Context { return u.lost }

// Check returns an error if the lease can no longer be relied on. It is called before
// every put and delete: a host may have slept since the last request.
func (u *Upkeep) Check() error {
	if cause := context.Cause(u.lost); cause != nil {
		return cause
	}
	if u.left() <= 0 {
		err := fmt.Errorf("%s was lost: it could not be renewed in time", u.lease)
		u.end(err)
		return err
	}
	return nil
}

// End releases the lease. It returns an error if the lease was lost before.
func (u *Upkeep) End(ctx context.Context) error {
	err := u.Release(ctx)
	if u.found != nil {
		free := ""
		if err == nil {
			free = u.etag
		}
		u.found.released(free)
	}
	return err
}

// AwaitUpkeep waits until no program has the upkeep of the backup. The error is ErrUpkeep
// if one still has it at the end of ctx.
func AwaitUpkeep(ctx context.Context, f *Found, o LockOptions) error {
	h := newHolder(f.Partition.Store, UpkeepKey(f.Path), "", ErrUpkeep, o)
	var held *LockFile // as last read
	for {
		now, err := h.Now(ctx)
		var l *LockFile
		var info objstore.Info
		if err == nil {
			l, info, err = readLease(ctx, h.store, h.key)
		}
		switch {
		case err != nil && held != nil && ctx.Err() != nil: // the wait has ended in a request
			return fmt.Errorf("%s: %w", f.Name(), held.heldError(ErrUpkeep))
		case err != nil:
			return err
		case h.watch.Look(l, info.ETag, now) == LeaseFree:
			return nil
		}
		held = l
		if pause(ctx, time.Second) != nil {
			return fmt.Errorf("%s: %w", f.Name(), l.heldError(ErrUpkeep))
		}
	}
}
