package repository

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/probe"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// longestLease is how long a lock outlives the program that took it; it renews it three
// times as often.
const longestLease = 2 * time.Minute

// LockOptions say how to take a lock.
type LockOptions struct {
	Owner string        // who takes it, for people
	Host  string        // of the commit that announces it
	Wait  bool          // for a lock that somebody else holds
	Lease time.Duration // 0: two minutes, which is also the longest
	Now   func() time.Time
	// Mend takes the place of a lock.json that cannot be read, once nobody renews it.
	Mend bool
}

// SetDefaults fills in the defaults that the fields name.
func (o *LockOptions) SetDefaults() {
	if o.Lease <= 0 || o.Lease > longestLease {
		o.Lease = longestLease
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Lock keeps every writer off a backup, on this host and on others, until Release.
type Lock struct {
	found   *Found
	Options LockOptions
	file    LockFile
	etag    string
	clock   storeclock.Clock
	watch   LeaseWatch      // of who holds it instead
	lost    context.Context // ends when the lock is lost or given back
	end     context.CancelCauseFunc
	done    chan struct{} // the renewal has ended
}

// errNoLocks: two lockers could overwrite each other.
var errNoLocks = errors.New("the store does not honour conditional puts, so that no lock can be kept in it: stop backupd instead")

// Lock takes the lock of the backup: first lock.json, a lease by the store's clock, and
// then the next number of its log. No daemon can commit anything without having read
// that commit, and then it asks for lock.json. ErrHeld when somebody else holds it.
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

// TakeLease takes lock.json alone, and keeps it.
func (f *Found) TakeLease(ctx context.Context, o LockOptions) (*Lock, error) {
	if f.Aside != "" {
		return nil, fmt.Errorf("%s: %w", f.Aside, ErrAside)
	}
	o.SetDefaults()
	if err := f.canLock(ctx, o.Now); err != nil {
		return nil, fmt.Errorf("partition %s (%s): %w", f.Partition.Name, f.Partition.Location, err)
	}
	l := &Lock{found: f, Options: o, file: LockFile{Version: lockVersion, ID: NewID(), Owner: o.Owner}, done: make(chan struct{})}
	for {
		state, err := l.take(ctx)
		if err == nil {
			break
		}
		if !errors.Is(err, ErrHeld) || !o.Wait && state != LeaseDoubtful {
			return nil, err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	l.lost, l.end = context.WithCancelCause(context.WithoutCancel(ctx))
	go l.renew()
	return l, nil
}

// canLock asks repository.json whether the store honours conditions, and the store
// itself where that says no: it may have been found so by another way, or long ago.
func (f *Found) canLock(ctx context.Context, now func() time.Time) error {
	repo, err := ReadInfo(ctx, f.Partition.Store)
	if err != nil {
		return err
	}
	c := repo.Capabilities
	if !c.IfAbsent || !c.IfMatch {
		if c, err = probe.Run(ctx, f.Partition.Store, now); err != nil {
			return err
		}
	}
	if !c.IfAbsent || !c.IfMatch {
		return errNoLocks
	}
	return nil
}

// take puts lock.json where there is none that holds.
func (l *Lock) take(ctx context.Context) (LeaseState, error) {
	now, err := l.Now(ctx)
	if err != nil {
		return LeaseFree, err
	}
	old, info, err := ReadLock(ctx, l.found.Partition.Store, l.found.Path)
	if l.Options.Mend && err != nil && !IsStoreError(err) && !errors.Is(err, ErrVersion) {
		err = l.abandoned(info, now)
	}
	if err != nil {
		return LeaseFree, err
	}
	if state := l.watch.Look(old, info.ETag, now); state != LeaseFree {
		return state, old.HeldError()
	}
	o := objstore.PutOptions{IfAbsent: true}
	if info.ETag != "" {
		o = objstore.PutOptions{IfMatch: info.ETag}
	}
	l.file.Since, l.file.Expires = now.UTC(), now.Add(l.Options.Lease).UTC()
	return LeaseFree, l.put(ctx, o)
}

// Now is the store's time. It is asked for several times: what is put in lock.json
// decides for others, and must not come from one answer.
func (l *Lock) Now(ctx context.Context) (time.Time, error) {
	var err error
	ask := func(ctx context.Context) {
		var info objstore.Info
		info, err = l.found.Partition.Store.Stat(ctx, LockKey(l.found.Path))
		if errors.Is(err, objstore.ErrNotExist) {
			info.StoreTime, err = objstore.StoreTimeOf(err), nil
		}
		l.clock.Observe(info.StoreTime, l.Options.Now())
	}
	for range storeclock.Answers {
		if ask(ctx); err != nil {
			return time.Time{}, err
		}
	}
	l.clock.Settle(ctx, ask, time.Time{})
	return l.clock.Now(l.Options.Now()), err
}

// put puts lock.json over what was there, and reads it back after an unclear answer.
func (l *Lock) put(ctx context.Context, o objstore.PutOptions) error {
	s, path := l.found.Partition.Store, l.found.Path
	info, putErr := l.file.put(ctx, s, path, o)
	if putErr == nil {
		l.etag = info.ETag
		return nil
	}
	there, info, err := ReadLock(ctx, s, path)
	switch {
	case err != nil:
		return errors.Join(putErr, err)
	case there == nil:
		return putErr
	case there.ID == l.file.ID && there.Expires.Equal(l.file.Expires):
		l.etag = info.ETag
		return nil
	case there.ID == l.file.ID && info.ETag != l.etag:
		// An earlier put of ours, of which nobody knew what had come of it.
		l.etag = info.ETag
		return l.put(ctx, objstore.PutOptions{IfMatch: info.ETag})
	case there.ID != l.file.ID && !there.Expires.IsZero():
		return there.HeldError()
	}
	return putErr
}

// renew keeps the lease from ending. When it ended all the same, the lock is lost.
func (l *Lock) renew() {
	defer close(l.done)
	every := l.Options.Lease / 3
	t := time.NewTicker(every)
	defer t.Stop()
	last := time.Now() // monotonic: when it was renewed
	for {
		select {
		case <-l.lost.Done():
			return
		case <-t.C:
		}
		ctx, cancel := context.WithTimeout(l.lost, every)
		was := l.file.Expires
		l.file.Expires = was.Add(time.Since(last))
		begun := time.Now()
		err := l.put(ctx, objstore.PutOptions{IfMatch: l.etag})
		cancel()
		switch {
		case err == nil:
			last = begun
		case errors.Is(err, ErrHeld), errors.Is(err, objstore.ErrPrecondition), time.Since(last) > l.Options.Lease:
			l.end(fmt.Errorf("the lock of %s was lost: %w", l.found.Name(), err))
			return
		default:
			l.file.Expires = was // try again with the next tick
		}
	}
}

// Lost ends when the lock does not hold any longer; its cause says why.
func (l *Lock) Lost() context.Context { return l.lost }

// stop ends the renewal.
func (l *Lock) stop() error {
	if cause := context.Cause(l.lost); cause != nil {
		return cause
	}
	l.end(nil)
	<-l.done
	if cause := context.Cause(l.lost); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// Release gives the lock back. The error of a lock that was lost says so.
func (l *Lock) Release(ctx context.Context) error {
	if err := l.stop(); err != nil {
		return err
	}
	l.file.Expires = time.Time{}
	if err := l.put(ctx, objstore.PutOptions{IfMatch: l.etag}); err != nil {
		return fmt.Errorf("give back the lock of %s: %w", l.found.Name(), err)
	}
	return nil
}
