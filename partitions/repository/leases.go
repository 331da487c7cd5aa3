package repository

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// Leases takes the leases of the backups of a partition, one after the other. It proves once that
// the store honours conditional puts, and its leases share an estimate of the store's time. Not
// safe for concurrent use; the leases are.
type Leases struct {
	p     Config
	o     LockOptions
	clock *storeclock.Clock
	able  bool // the store honours conditional puts
}

// NewLeases returns Leases for a partition.
func NewLeases(p Config, o LockOptions) *Leases {
	o.SetDefaults()
	// Nobody else needs an unreadable lease: it blocks no daemon.
	o.Mend = true
	return &Leases{p: p, o: o, clock: new(storeclock.Clock)}
}

// Watched returns the store. The time in its answers counts for the leases that follow.
func (l *Leases) Watched() objstore.Store {
	return storeclock.Store{Store: l.p.Store, Clock: l.clock, Now: l.o.Now}
}

// Begin takes the lease upkeep.json of a backup, and lists the backup then: see Upkeep.Listed. The
// error is ErrUpkeep if another program has the lease, and ErrOnHold if the backup is on hold. A
// hold that is placed from then on waits for the end of the lease (AwaitUpkeep).
//
// A list may omit holds.json while somebody replaces it. That is enough to merge commits, which
// loses nothing; call CheckHolds before anything is removed for good.
func (l *Leases) Begin(ctx context.Context, f *Found) (*Upkeep, error) {
	u, err := l.exclude(ctx, f)
	if err != nil {
		return nil, err
	}
	u.found = f
	f.leased()
	if err := u.look(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), u.End(context.WithoutCancel(ctx)))
	}
	return u, nil
}

func (l *Leases) exclude(ctx context.Context, f *Found) (*Upkeep, error) {
	if f.Aside != "" {
		return nil, fmt.Errorf("%s: %w", f.Aside, ErrAside)
	}
	return l.take(ctx, UpkeepKey(f.Path), f.Name().String(), f.freeLease())
}

// take takes a lease. free is the result of Found.freeLease.
func (l *Leases) take(ctx context.Context, key, what string, free *objstore.PutOptions) (*Upkeep, error) {
	u := &Upkeep{holder: newHolder(l.p.Store, key, "the upkeep of "+what, ErrUpkeep, l.o)}
	u.clock, u.free = l.clock, free
	if !l.able {
		if err := l.p.canLock(ctx, u.Options.Now); err != nil {
			return nil, err
		}
		l.able = true
	}
	if err := u.hold(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return u, nil
}

// look lists the backup, and returns ErrOnHold if it is on hold.
func (u *Upkeep) look() (err error) {
	if u.listed, err = u.found.list(u.lost); err != nil {
		return err
	}
	if !u.listed.mayHold() && (u.found.listed == nil || !u.found.listed.mayHold()) {
		return nil
	}
	return u.CheckHolds(u.found)
}

// mayHold reports whether the list shows holds.json, or is incomplete.
func (l *listing) mayHold() bool {
	_, there := l.find(HoldsKey(l.path))
	return there || l.rest
}

// CheckHolds returns ErrOnHold if the backup is on hold. It reads holds.json. A hold ends by time only
// if the store and this host agree about the time.
func (u *Upkeep) CheckHolds(f *Found) error {
	now, err := u.Now(u.lost)
	if err != nil {
		return err
	}
	if now.Sub(u.Options.Now()).Abs() > storeclock.Bound {
		now = time.Time{}
	}
	return f.CheckHolds(u.lost, now)
}

// Listed returns the backup as it was listed after the lease was taken, for reading only: see
// Found.Listed. same means that the list shows the backup.json that f was made from. From then on,
// only another holder of the lease could replace the backup.
func (u *Upkeep) Listed(f *Found) (listed *Found, same bool) {
	if u.listed == nil || u.listed.path != f.Path {
		return f, false
	}
	g := *f
	g.listed = u.listed
	info, ok := u.listed.find(BackupInfoKey(g.Path))
	return g.Listed(), ok && g.read.shows(info)
}
