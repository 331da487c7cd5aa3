package repository

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// longestLease is how long a lock outlives its program, which renews the lease three times
// in that time.
const longestLease = 2 * time.Minute

// LockOptions are the options of Lock, TakeLease and BeginUpkeep.
type LockOptions struct {
	Owner string           // who takes the lock, for messages
	Host  string           // in the commit that announces the lock
	Wait  bool             // until the present holder releases the lock
	Lease time.Duration    // at most two minutes, which is also the default
	Now   func() time.Time // nil: time.Now
	// Mend replaces a lock.json that is unreadable and that nobody renews.
	Mend bool
}

// SetDefaults sets the defaults of Lease and Now.
func (o *LockOptions) SetDefaults() {
	if o.Lease <= 0 || o.Lease > longestLease {
		o.Lease = longestLease
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Lock excludes all other writers, on all hosts, from a backup until Release.
type Lock struct {
	*holder
	found *Found
}

// Lock takes the lock of the backup. It first writes lock.json, a lease by the store's
// clock, and then announces the lock in a commit. A daemon cannot commit without reading
// that commit, and then it reads lock.json. The error is ErrHeld if another program holds
// the lock.
func (f *Found) Lock(ctx context.Context, o LockOptions) (*Lock, error) {
	l, err := f.TakeLease(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := l.announce(ctx); err != nil {
		return nil, errors.Join(err, l.Release(context.WithoutCancel(ctx)))
	}
	return l, nil
}

// TakeLease writes lock.json and renews it, without the commit of Lock.
func (f *Found) TakeLease(ctx context.Context, o LockOptions) (*Lock, error) {
	if f.Aside != "" {
		return nil, fmt.Errorf("%s: %w", f.Aside, ErrAside)
	}
	l := &Lock{found: f, holder: newHolder(f.Partition.Store, LockKey(f.Path), "the lock of "+f.Name().String(), ErrHeld, o)}
	if err := f.Partition.canLock(ctx, l.Options.Now); err != nil {
		return nil, err
	}
	if err := l.hold(ctx); err != nil {
		return nil, err
	}
	return l, nil
}
