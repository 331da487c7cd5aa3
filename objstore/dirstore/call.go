package dirstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxCalls bounds the operations under way in one store, and so the threads that a
	// directory that hangs can keep: those that nobody waits for any more count too.
	maxCalls = 64
	// defaultPatience is how long a system call may take where Options say nothing: longer
	// than the sync of a pack on a disk that is busy. Callers try again.
	defaultPatience = 30 * time.Second
	// briefly is the patience of further calls while one hangs that was given up.
	briefly = 10 * time.Second
)

// errHangs is the end of patience with the system. It is temporary: a server or a disk
// that comes back completes the system call.
var errHangs = errors.New("the directory does not answer")

// call is one operation. Its system calls are made in a goroutine of their own, because
// nothing can interrupt one that hangs. When the caller has left, the call ends before
// its next system call.
type call struct {
	s     *Store
	ctx   context.Context // ends when the caller has left
	steps atomic.Int64    // system calls that have returned
	at    atomic.Pointer[syscallAt]
	body  sync.Mutex // held while bytes of the caller's are read
	// Guarded by Store.mu.
	ended, hung bool
}

type syscallAt struct{ name, path string }

// do makes one system call.
func (c *call) do(name, path string, fn func() error) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	return c.always(name, path, fn)
}

// always is do for what has to happen even if the caller has left: unlock, clean up.
func (c *call) always(name, path string, fn func() error) error {
	c.at.Store(&syscallAt{name, path})
	defer c.steps.Add(1)
	if c.s.trap != nil {
		return c.s.trap(name, path, fn)
	}
	return fn()
}

// run makes a call and waits until it is done, ctx has ended, or one system call of it
// has taken longer than the store's patience. drop, if not nil, gets the result that came too late.
func run[T any](ctx context.Context, s *Store, op, key string, drop func(T), fn func(c *call) (T, error)) (T, error) {
	var none T
	wait := s.waits()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	if err := s.enter(ctx, timer); err != nil {
		return none, failed(op, key, time.Time{}, err)
	}
	c, cancel := newCall(ctx, s)
	defer cancel()
	done := begin(c, drop, fn)
	for seen := int64(0); ; {
		select {
		case r := <-done:
			return r.v, r.err
		case <-ctx.Done():
			c.abandon(cancel)
			return none, failed(op, key, time.Time{}, ctx.Err())
		case <-timer.C:
		}
		if n := c.steps.Load(); n != seen { // it gets on
			seen = n
			timer.Reset(wait)
			continue
		}
		c.abandon(cancel)
		return none, failed(op, key, time.Time{}, s.giveUp(c, wait))
	}
}

type result[T any] struct {
	v   T
	err error
}

// begin runs fn in a goroutine, which sends the result while the caller waits.
func begin[T any](c *call, drop func(T), fn func(c *call) (T, error)) <-chan result[T] {
	done := make(chan result[T])
	go func() {
		defer c.s.leave(c)
		v, err := fn(c)
		select {
		case done <- result[T]{v, err}:
		case <-c.ctx.Done():
			if err == nil && drop != nil {
				drop(v)
			}
		}
	}()
	return done
}

func newCall(ctx context.Context, s *Store) (*call, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	c := &call{s: s, ctx: ctx}
	c.at.Store(&syscallAt{"start", s.root})
	return c, cancel
}

// abandon lets go of a call. The caller's body is not read afterwards.
func (c *call) abandon(cancel context.CancelFunc) {
	cancel()
	c.body.Lock()
	defer c.body.Unlock()
}

// left says that the error is not the system's: the caller has left before it was asked.
func left(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// readBody reads bytes of the caller's, as long as he waits.
func (c *call) readBody(fn func() (int, error)) (int, error) {
	c.body.Lock()
	defer c.body.Unlock()
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return fn()
}

// waits is the patience with one system call.
func (s *Store) waits() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hung > 0 {
		return min(s.patience, briefly)
	}
	return s.patience
}

func (s *Store) enter(ctx context.Context, timer *time.Timer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.calls <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("%w: %d calls wait for it, which is the most that are made at a time", errHangs, maxCalls)
	}
}

// leave ends a call, maybe long after its caller has left.
func (s *Store) leave(c *call) {
	<-s.calls
	s.mu.Lock()
	defer s.mu.Unlock()
	c.ended = true
	if !c.hung {
		return
	}
	if s.hung--; s.hung == 0 {
		s.log.Info("the directory answers again: no system call hangs any more", "root", s.root)
	}
}

// giveUp is the error of a call that hangs. The first one is logged.
func (s *Store) giveUp(c *call, wait time.Duration) error {
	at := c.at.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.ended {
		c.hung = true
		if s.hung++; s.hung == 1 {
			s.log.Error("a system call on the directory hangs: see to its disk or server. Commands are refused until it answers; "+
				"a bounded number of calls stays behind and ends when it does", "root", s.root, "call", at.name, "path", at.path, "for", wait.String(), "bound", maxCalls)
		}
	}
	return fmt.Errorf("%w: %s %s has taken longer than %v", errHangs, at.name, at.path, wait)
}
