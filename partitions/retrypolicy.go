package partitions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
)

// retryPolicy is how long a command waits for temporary trouble of a store to end. A delayed
// answer harms nobody (client-behaviour.md 4), but refusing the wrong command makes the client
// retry in a tight loop.
type retryPolicy struct {
	wait time.Duration
	// spent is the error after the wait: ErrLocked for commands that the client defers,
	// otherwise ErrClose.
	spent error
}

type retryPolicyKey struct{}

// policyContext has a policy as its value. It takes one allocation, and there is one for
// each message.
type policyContext struct {
	context.Context
	policy retryPolicy
}

func (c *policyContext) Value(key any) any {
	if key == (retryPolicyKey{}) {
		return c
	}
	return c.Context.Value(key)
}

func withRetryPolicy(ctx context.Context, p retryPolicy) context.Context {
	return &policyContext{ctx, p}
}

// policyOf returns the policy of ctx; zero means that nothing is retried.
func policyOf(ctx context.Context) retryPolicy {
	if c, ok := ctx.Value(retryPolicyKey{}).(*policyContext); ok {
		return c.policy
	}
	return retryPolicy{}
}

// Brief sets the policy of commands that may be answered with LOCKED (design.md, promise 10).
func (s *Set) Brief(ctx context.Context) context.Context {
	return withRetryPolicy(ctx, retryPolicy{s.opt.OutageWait, cyrus.ErrLocked})
}

// Patient sets the policy of all other commands: they wait longer and then lose the
// connection.
func (s *Set) Patient(ctx context.Context) context.Context {
	return withRetryPolicy(ctx, retryPolicy{s.opt.PatientWait, cyrus.ErrClose})
}

// await calls fn until it succeeds, fails permanently, or uses up the retry policy of ctx. It
// retries the errors that objstore.IsTemporary reports. fn must be safe to repeat. await does
// not wait for a partition that has been given up for all commands (outage.go).
func await[T any](ctx context.Context, fn func() (T, error)) (T, error) {
	p := policyOf(ctx)
	bo := backoff.NewExponentialBackOff()
	bo.InitialInterval = 50 * time.Millisecond
	bo.MaxInterval = 5 * time.Second
	began := time.Now()
	v, err := backoff.Retry(ctx, func() (T, error) {
		v, err := fn()
		if err != nil && (!objstore.IsTemporary(err) || hopeless(ctx, err, time.Since(began))) {
			return v, backoff.Permanent(err)
		}
		return v, err
	}, backoff.WithBackOff(bo), backoff.WithMaxElapsedTime(max(p.wait, time.Millisecond)))
	if permanent := (*backoff.PermanentError)(nil); errors.As(err, &permanent) {
		err = permanent.Unwrap()
	}
	if err != nil && p.spent != nil && objstore.IsTemporary(err) && ctx.Err() == nil {
		giveUp(err)
		err = fmt.Errorf("%w: %w", p.spent, err)
	}
	return v, err
}

// outageOf returns the partition of an error and its outage.
func outageOf(err error) (*Partition, *outage) {
	var at *storeError
	if !errors.As(err, &at) {
		return nil, nil
	}
	if classOf(at.op) == "put" {
		return at.p, &at.p.storing
	}
	return at.p, &at.p.reading
}

// hopeless reports whether this caller must stop waiting: the partition has been given up, or
// another partition answers whose users may be waiting on the same connection.
func hopeless(ctx context.Context, err error, waited time.Duration) bool {
	p, o := outageOf(err)
	return o != nil && (o.givenUp() || waited >= p.set.opt.OthersFirst && p.set.othersAnswer(ctx, p))
}

// giveUp saves all other commands the same wait.
func giveUp(err error) {
	if _, o := outageOf(err); o != nil {
		o.giveUp()
	}
}

// await0 is await for calls without a result.
func await0(ctx context.Context, fn func() error) error {
	_, err := await(ctx, func() (struct{}, error) { return struct{}{}, fn() })
	return err
}

// limited applies the retry policy of ctx to a wait for anything but an answer of a store,
// such as memory or the put of another connection's pack.
func limited(ctx context.Context) (context.Context, context.CancelFunc) {
	p := policyOf(ctx)
	if p.wait <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, p.wait)
}

// givenUp returns the error of a limited wait: that of the retry policy, or the end of ctx
// itself.
func givenUp(ctx context.Context, err error) error {
	p := policyOf(ctx)
	if ctx.Err() == nil && p.spent != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		err = fmt.Errorf("%w: %w", p.spent, err)
	}
	return err
}

// limitedPut is limited for a wait until packs of other connections are put. The wait ends
// early if other partitions can be served meanwhile. Then, or after the longest wait of any
// command, the partition is given up for all commands.
func (p *Partition) limitedPut(ctx context.Context) (context.Context, context.CancelFunc) {
	limit, stop := limited(ctx)
	if policyOf(ctx).spent == nil {
		return limit, stop
	}
	began := time.Now()
	p.set.work.Go(func() {
		defer stop()
		look := time.NewTicker(min(time.Second, p.set.opt.OthersFirst))
		defer look.Stop()
		for limit.Err() == nil {
			select {
			case <-look.C:
			case <-limit.Done():
			}
			switch {
			case errors.Is(limit.Err(), context.DeadlineExceeded):
				p.storing.giveUp()
			case limit.Err() == nil && p.storing.failing() && time.Since(began) >= p.set.opt.OthersFirst && p.set.othersAnswer(limit, p):
				p.storing.giveUp()
				return
			}
		}
	})
	return limit, stop
}

// unput returns the error of a limitedPut wait, with the last error of the store.
func (p *Partition) unput(ctx context.Context, err error) error {
	pat := policyOf(ctx)
	if why := p.storing.standing(); why != nil && pat.spent != nil && ctx.Err() == nil {
		return &storeError{p, "put", fmt.Errorf("wait for a pack to be put: %w: %w", pat.spent, why)}
	}
	return fmt.Errorf("wait for a pack to be put: %w", givenUp(ctx, err))
}

// patientPuts is a store that retries puts. It is for objects that are named by their bytes,
// because they may be put again.
type patientPuts struct{ objstore.Store }

func (s patientPuts) Put(ctx context.Context, key string, body objstore.Body, o objstore.PutOptions) (objstore.Info, error) {
	return await(ctx, func() (objstore.Info, error) { return s.Store.Put(ctx, key, body, o) })
}
