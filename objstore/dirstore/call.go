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
	// maxCalls limits the concurrent operations of a store, including abandoned ones, and
	// thereby the threads that a hanging directory can block.
	maxCalls = 64
	// defaultCallTimeout is the default timeout of a system call. It is longer than the
	// sync of a pack on a busy disk. Callers retry.
	defaultCallTimeout = 30 * time.Second
	// hungCallTimeout is the timeout of further calls while an abandoned call hangs.
	hungCallTimeout = 10 * time.Second
)

// errHangs means that a system call timed out. It is temporary: when a server or a disk
// returns, the system call completes.
var errHangs = errors.New("the directory does not answer")

// call is one operation. Its system calls run in a separate goroutine, because a hanging
// system call cannot be interrupted. After the caller has left, the call ends before its
// next system call.
type call struct {
	s     *Store
	ctx   context.Context // ends when the caller leaves
	steps atomic.Int64    // completed system calls
	at    atomic.Pointer[syscallAt]
	body  sync.Mutex // held while the caller's bytes are read
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

// always is like do, for work that must happen even after the caller has left: unlock,
// clean up.
func (c *call) always(name, path string, fn func() error) error {
	c.at.Store(&syscallAt{name, path})
	defer c.steps.Add(1)
	if c.s.trap != nil {
		return c.s.trap(name, path, fn)
	}
	return fn()
}

// run makes a call and waits until it is done, ctx ends, or one of its system calls exceeds
// the store's timeout. drop, if not nil, receives a result that arrived too late.
func run[T any](ctx context.Context, s *Store, op, key string, drop func(T), fn func(c *call) (T, error)) (T, error) {
	var none T
	wait := s.timeout()
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
		if n := c.steps.Load(); n != seen { // the call makes progress
			seen = n
			timer.Reset(wait)
			continue
		}
		c.abandon(cancel)
		return none, failed(op, key, time.Time{}, s.hungError(c, wait))
	}
}

type result[T any] struct {
	v   T
	err error
}

// begin runs fn in a goroutine and returns the channel for its result.
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

// abandon gives up a call. The caller's body is not read afterwards.
func (c *call) abandon(cancel context.CancelFunc) {
	cancel()
	c.body.Lock()
	defer c.body.Unlock()
}

// left reports whether err does not come from the system: the caller left before the system
// call.
func left(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// readBody reads from the caller's body while the caller waits.
func (c *call) readBody(fn func() (int, error)) (int, error) {
	c.body.Lock()
	defer c.body.Unlock()
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return fn()
}

// timeout is the timeout of one system call.
func (s *Store) timeout() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hung > 0 {
		return min(s.callTimeout, hungCallTimeout)
	}
	return s.callTimeout
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
		return fmt.Errorf("%w: all %d concurrent calls are waiting for it", errHangs, maxCalls)
	}
}

// leave ends a call, possibly long after its caller has left.
func (s *Store) leave(c *call) {
	<-s.calls
	s.mu.Lock()
	defer s.mu.Unlock()
	c.ended = true
	if !c.hung {
		return
	}
	if s.hung--; s.hung == 0 {
		s.log.Info("the directory answers again: no system call hangs any longer", "root", s.root)
	}
}

// hungError returns the error for a hanging call. It logs the first one.
func (s *Store) hungError(c *call, wait time.Duration) error {
	at := c.at.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.ended {
		c.hung = true
		if s.hung++; s.hung == 1 {
			s.log.Error("a system call on the directory hangs: check its disk or server. Commands are refused until it answers; "+
				"a limited number of calls keeps waiting and ends when it answers", "root", s.root, "call", at.name, "path", at.path, "for", wait.String(), "bound", maxCalls)
		}
	}
	return fmt.Errorf("%w: %s %s has taken longer than %v", errHangs, at.name, at.path, wait)
}
