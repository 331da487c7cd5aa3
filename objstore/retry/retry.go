// Package retry repeats what failed for a while, for any store. It never repeats a
// conditional put: its own first try may have taken effect unseen, and only the
// caller can tell that from somebody else's (design.md, promise 5).
package retry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/cyrusbackup/backupd/objstore"
)

// Options say how long and how often.
type Options struct {
	MaxElapsed time.Duration // from the first try until the last pause ends; 0: one minute
	Initial    time.Duration // mean of the first pause; 0: 200 ms
	MaxPause   time.Duration // mean of the longest pause; 0: 10 s
	// Notify hears of each failure that will be followed by another try; nil: nobody does.
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

// New returns s with retries of what objstore.IsTemporary says, with growing random
// pauses. The last error is returned when MaxElapsed would be over before the next
// try. A list goes on behind the last key that was yielded, and a body that breaks
// off goes on at the byte where it did, as long as the object is the same.
func New(s objstore.Store, o Options) objstore.Store { return &store{s, o.withDefaults()} }

// try is one operation's budget of time.
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

// again waits before another try and returns nil, or returns the error to give up with.
func (t *try) again(ctx context.Context, err error) error {
	if !objstore.IsTemporary(err) || errors.Is(err, objstore.ErrCredentials) || ctx.Err() != nil {
		return err // new keys do not come within moments
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

// cancelled says that the wait was cut short, and for what we waited.
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

func (s *store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		after, t := startAfter, s.newTry()
		for {
			failure, stopped := listOnce(s.under.List(ctx, prefix, after), func(info objstore.Info) bool {
				after, t = info.Key, nil
				return yield(info, nil)
			})
			if failure == nil || stopped {
				return
			}
			if t == nil { // it got on: the time starts anew
				t = s.newTry()
			}
			if err := t.again(ctx, failure); err != nil {
				yield(objstore.Info{}, err)
				return
			}
		}
	}
}

// listOnce passes infos on until an error, the end, or the consumer's stop.
func listOnce(seq iter.Seq2[objstore.Info, error], yield func(objstore.Info) bool) (failure error, stopped bool) {
	for info, err := range seq {
		if err != nil {
			return err, false
		}
		if !yield(info) {
			return nil, true
		}
	}
	return nil, false
}
