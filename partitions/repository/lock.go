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

// longestLease is how long a lock outlives its program, which renews the lease three times
// in that time.
const longestLease = 2 * time.Minute

// LockOptions are the options of Lock and TakeLease.
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
	found   *Found
	Options LockOptions
	file    LockFile
	etag    string
	clock   storeclock.Clock
	watch   LeaseWatch      // of the present holder's lease
	lost    context.Context // ends when the lock is lost or released
	end     context.CancelCauseFunc
	done    chan struct{} // closed when the renewal has ended
}

// errNoLocks reports a store where two writers could overwrite each other's lock.json.
var errNoLocks = errors.New("the store does not honour conditional puts, so backups cannot be locked: stop backupd instead")

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

// canLock checks that the store honours conditional puts. If repository.json denies that,
// canLock probes the store again: the entry may be old, or from another way to the store.
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

// take writes lock.json unless another lease is valid.
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

// Now returns the store's time, from several answers: other programs rely on the time in
// lock.json, and a single answer may be wrong.
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

// put writes lock.json under the condition in o, and reads it back after an unclear answer.
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
		// An earlier put by this program succeeded, although its answer was unclear.
		l.etag = info.ETag
		return l.put(ctx, objstore.PutOptions{IfMatch: info.ETag})
	case there.ID != l.file.ID && !there.Expires.IsZero():
		return there.HeldError()
	}
	return putErr
}

// renew renews the lease until the lock is released, or lost because the lease has ended.
func (l *Lock) renew() {
	defer close(l.done)
	every := l.Options.Lease / 3
	t := time.NewTicker(every)
	defer t.Stop()
	last := time.Now() // of the last renewal, monotonic
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
			l.file.Expires = was // retry at the next tick
		}
	}
}

// Lost returns a context that ends when the lock is lost or released. Its cause is the
// reason.
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

// Release releases the lock. It returns an error if the lock was lost before.
func (l *Lock) Release(ctx context.Context) error {
	if err := l.stop(); err != nil {
		return err
	}
	l.file.Expires = time.Time{}
	if err := l.put(ctx, objstore.PutOptions{IfMatch: l.etag}); err != nil {
		return fmt.Errorf("release the lock of %s: %w", l.found.Name(), err)
	}
	return nil
}
