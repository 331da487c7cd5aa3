// Package retry repeats failed calls for a limited time, for any store. It never repeats a
// conditional put: the first try may have taken effect unseen, and only the caller can
// distinguish that from another writer's put (design.md, promise 5).
package retry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/cyrusbackup/backupd/objstore"
)

// Options limit the time and the pauses.
type Options struct {
	MaxElapsed time.Duration // from the first try to the end of the last pause; 0: one minute
	Initial    time.Duration // mean of the first pause; 0: 200 ms
	MaxPause   time.Duration // mean of the longest pause; 0: 10 s
	// Notify is called for each failure that is followed by another try; nil: no call.
	Notify func(err error, pause time.Duration)
}

func (o Options) withDefaults() Options {
	if o.MaxElapsed <= 0 {
		o.MaxElapsed = time.Minute
	}
	if o.Initial <= 0 {
		o.Initial = 200 * time.Millisecond
	}
	if o.MaxPause <= 0 {
		o.MaxPause = 10 * time.Second
	}
	if o.Notify == nil {
		o.Notify = func(error, time.Duration) {}
	}
	return o
}

type store struct {
	under objstore.Store
	o     Options
}

// New returns s with retries of errors for which objstore.IsTemporary is true, with growing
// random pauses. It returns the last error if MaxElapsed would be exceeded before the next
// try. A list continues after the last yielded key, and a list of versions after the key
// before it, because there may be more versions of the last one. A body that breaks off
// continues at the next byte, as long as the object is the same.
func New(s objstore.Store, o Options) objstore.Store { return &store{s, o.withDefaults()} }

// try is the retry budget of one operation.
type try struct {
	o     *Options
	pause backoff.ExponentialBackOff
	start time.Time
}

func (s *store) newTry() *try {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = s.o.Initial, s.o.MaxPause
	b.Multiplier, b.RandomizationFactor = 2, 0.5
	b.Reset()
	return &try{o: &s.o, pause: *b, start: time.Now()}
}

// again waits before another try and returns nil, or returns the final error.
func (t *try) again(ctx context.Context, err error) error {
	if !objstore.IsTemporary(err) || errors.Is(err, objstore.ErrCredentials) || ctx.Err() != nil {
		return err // new keys do not arrive within moments
	}
	pause := t.pause.NextBackOff()
	if time.Since(t.start)+pause > t.o.MaxElapsed {
		return err
	}
	t.o.Notify(err, pause)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return cancelled(ctx, err)
	}
}

// cancelled returns an error for an interrupted wait, with the cause of the wait.
func cancelled(ctx context.Context, err error) error {
	var e *objstore.Error
	if !errors.As(err, &e) {
		return err
	}
	//nolint:errorlint // the cause of the wait is for people: the error is that of the context
	return &objstore.Error{Op: e.Op, Key: e.Key, StoreTime: e.StoreTime, Err: fmt.Errorf("%w (waiting after: %v)", ctx.Err(), e.Err)}
}

func do[T any](ctx context.Context, s *store, fn func() (T, error)) (T, error) {
	t := s.newTry()
	for {
		v, err := fn()
		if err == nil {
			return v, nil
		}
		if err := t.again(ctx, err); err != nil {
			return v, err
		}
	}
}

func (s *store) Put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) (objstore.Info, error) {
	if opt.Conditional() {
		return s.under.Put(ctx, key, body, opt)
	}
	return do(ctx, s, func() (objstore.Info, error) { return s.under.Put(ctx, key, body, opt) })
}

func (s *store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	return do(ctx, s, func() (objstore.Info, error) { return s.under.Stat(ctx, key) })
}

func (s *store) Delete(ctx context.Context, key string) error {
	_, err := do(ctx, s, func() (struct{}, error) { return struct{}{}, s.under.Delete(ctx, key) })
	return err
}

func (s *store) DeleteVersion(ctx context.Context, v objstore.Version) error {
	_, err := do(ctx, s, func() (struct{}, error) { return struct{}{}, s.under.DeleteVersion(ctx, v) })
	return err
}
