package repository

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/probe"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// holder is a program that takes a lease, and then renews it until the end of its work.
type holder struct {
	Options LockOptions
	store   objstore.Store
	key     string // of the lease
	lease   string // for messages: "the lock of user anne"
	taken   error  // wrapped by the error about another holder
	file    LockFile
	etag    string
	putAt   time.Time            // the store's time in the answer to the last put; zero = unknown
	free    *objstore.PutOptions // see Found.freeLease
	clock   *storeclock.Clock    // of the store
	watch   LeaseWatch           // of the present holder's lease
	lost    context.Context      // ends when the lease is lost or released
	end     context.CancelCauseFunc
	done    chan struct{} // closed when the renewal has ended

	mu      sync.Mutex
	renewed leaseTime // when the last successful request for the lease began
}

// newHolder returns a holder without a lease.
func newHolder(s objstore.Store, key, lease string, taken error, o LockOptions) *holder {
	o.SetDefaults()
	return &holder{Options: o, store: s, key: key, lease: lease, taken: taken,
		clock: new(storeclock.Clock), file: LockFile{Version: lockVersion, ID: NewID(), Owner: o.Owner}, done: make(chan struct{})}
}

// hold takes the lease, and renews it from then on. It waits for the present holder if the
// options say so.
func (l *holder) hold(ctx context.Context) error {
	for {
		state, err := l.take(ctx)
		if err == nil {
			break
		}
		if !errors.Is(err, l.taken) || !l.Options.Wait && state != LeaseDoubtful {
			return err
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	l.lost, l.end = context.WithCancelCause(context.WithoutCancel(ctx))
	go l.renew()
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errNoLocks reports a store where two writers could overwrite each other's lock.json.
var errNoLocks = errors.New("the store does not honour conditional puts, so backups cannot be locked: stop backupd instead")

// canLock checks that the store honours conditional puts. If repository.json denies that,
// canLock probes the store again: the entry may be old, or from another way to the store.
func (p *Config) canLock(ctx context.Context, now func() time.Time) error {
	repo, err := ReadInfo(ctx, p.Store)
	var c probe.Capabilities
	if err == nil {
		if c = repo.Capabilities; !c.IfAbsent || !c.IfMatch {
			c, err = probe.Run(ctx, p.Store, now)
		}
	}
	if err == nil && (!c.IfAbsent || !c.IfMatch) {
		err = errNoLocks
	}
	if err != nil {
		return fmt.Errorf("partition %s (%s): %w", p.Name, p.Location, err)
	}
	return nil
}

// take writes the lease unless another one is valid.
func (l *holder) take(ctx context.Context) (LeaseState, error) {
	begun := leaseNow()
	now, err := l.time(ctx)
	if err != nil {
		return LeaseFree, err
	}
	if l.takeFree(ctx, begun, now) {
		return LeaseFree, l.correct(ctx)
	}
	old, info, err := readLease(ctx, l.store, l.key)
	if old != nil && !old.Expires.IsZero() || err != nil && !IsStoreError(err) {
		// Only answers to this look may end somebody else's lease. An estimate of earlier looks, and
		// the look before this one, would say the same again.
		var timeErr error
		if now, timeErr = l.Now(ctx); timeErr != nil {
			return LeaseFree, timeErr
		}
	}
	return l.takeEnded(ctx, begun, now, old, info, err)
}

// takeEnded takes the lease if the present one, as it was read, has ended by now.
func (l *holder) takeEnded(ctx context.Context, begun leaseTime, now time.Time, old *LockFile, info objstore.Info, err error) (LeaseState, error) {
	if l.Options.Mend && err != nil && !IsStoreError(err) && !errors.Is(err, ErrVersion) {
		err = l.abandoned(info, now)
	}
	if err != nil {
		return LeaseFree, err
	}
	if state := l.watch.Look(old, info.ETag, now); state != LeaseFree {
		return state, old.heldError(l.taken)
	}
	o := objstore.PutOptions{IfAbsent: true}
	if info.ETag != "" {
		o = objstore.PutOptions{IfMatch: info.ETag}
	}
	if err := l.begin(ctx, begun, now, o); err != nil {
		return LeaseFree, err
	}
	return LeaseFree, l.correct(ctx)
}

// begin puts the lease as of now.
func (l *holder) begin(ctx context.Context, begun leaseTime, now time.Time, o objstore.PutOptions) error {
	l.file.Since, l.file.Expires = now.UTC(), now.Add(l.Options.Lease).UTC()
	l.setRenewed(begun)
	return l.put(ctx, o)
}

// takeFree takes the lease without reading it, if it is known to be free. The condition of the put
// proves that nobody has taken it since.
func (l *holder) takeFree(ctx context.Context, begun leaseTime, now time.Time) bool {
	free := l.free
	l.free = nil
	return free != nil && l.begin(ctx, begun, now, *free) == nil
}

// Now returns the store's time, from several answers: other programs rely on the time in
// the lease, and a single answer may be wrong.
func (l *holder) Now(ctx context.Context) (time.Time, error) {
	var err error
	ask := func(ctx context.Context) {
		var info objstore.Info
		info, err = l.store.Stat(ctx, l.key)
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

// put writes the lease under the condition in o, and reads it back after an unclear answer.
func (l *holder) put(ctx context.Context, o objstore.PutOptions) error {
	info, putErr := l.file.put(ctx, l.store, l.key, o)
	if putErr == nil {
		l.etag, l.putAt = info.ETag, info.StoreTime
		l.clock.Observe(info.StoreTime, l.Options.Now())
		return nil
	}
	l.putAt = time.Time{}
	there, info, err := readLease(ctx, l.store, l.key)
	switch {
	case err != nil:
		return errors.Join(putErr, err)
	case there == nil:
		return putErr
	case there.ID == l.file.ID && there.Expires.Equal(l.file.Expires):
		l.etag, l.putAt = info.ETag, info.StoreTime
		return nil
	case there.ID == l.file.ID && info.ETag != l.etag:
		// An earlier put by this program succeeded, although its answer was unclear.
		l.etag = info.ETag
		return l.put(ctx, objstore.PutOptions{IfMatch: info.ETag})
	case there.ID != l.file.ID && !there.Expires.IsZero():
		return there.heldError(l.taken)
	}
	return putErr
}

// renew renews the lease until it is released, or lost because it has ended.
func (l *holder) renew() {
	defer close(l.done)
	every := l.Options.Lease / 3
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		ended := time.NewTimer(l.left())
		select {
		case <-l.lost.Done():
			ended.Stop()
			return
		case <-ended.C:
			l.end(fmt.Errorf("%s was lost: it could not be renewed in time", l.lease))
			return
		case <-t.C:
			ended.Stop()
		}
		if err := l.renewOnce(min(every, l.left())); err != nil {
			l.end(fmt.Errorf("%s was lost: %w", l.lease, err))
			return
		}
	}
}

// renewOnce renews the lease. It returns an error if the lease has ended.
func (l *holder) renewOnce(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(l.lost, timeout)
	defer cancel()
	was, begun := l.file.Expires, leaseNow()
	l.file.Expires = was.Add(begun.mono.Sub(l.renewed.mono))
	err := l.put(ctx, objstore.PutOptions{IfMatch: l.etag})
	switch {
	case err == nil:
		l.setRenewed(begun)
	case errors.Is(err, l.taken), errors.Is(err, objstore.ErrPrecondition):
		return err
	default:
		l.file.Expires = was // retry at the next tick
	}
	return nil
}

// Lost returns a context that ends when the lease is lost or released. Its cause is the
// reason.
func (l *holder) Lost() context.Context { return l.lost }

// stop ends the renewal.
func (l *holder) stop() error {
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

// Release releases the lease. It returns an error if the lease was lost before.
func (l *holder) Release(ctx context.Context) error {
	if err := l.stop(); err != nil {
		return err
	}
	l.file.Expires = time.Time{}
	if err := l.put(ctx, objstore.PutOptions{IfMatch: l.etag}); err != nil {
		return fmt.Errorf("release %s: %w", l.lease, err)
	}
	return nil
}
