package stores

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

const (
	// openWait limits how long an operation, and the start of a program, wait until a store is
	// open.
	openWait = 5 * time.Second
	// openAgain is the pause between attempts.
	openAgain = 10 * time.Second
)

// later is a store that could not be opened: its credentials were not found, or its directory
// is missing or hangs. Operations try again to open it; until it is open, they fail with the
// error of the last attempt. The other partitions are served.
type later struct {
	open func(context.Context) (objstore.Store, error)
	life context.Context
	end  context.CancelFunc

	mu      sync.Mutex
	store   objstore.Store // nil: not open
	err     error          // of the last attempt
	tried   time.Time
	opening chan struct{} // closed when the running attempt ends; nil: none is running
}

func newLater(ctx context.Context, open func(context.Context) (objstore.Store, error)) *later {
	l := &later{open: open, err: errOpening}
	l.life, l.end = context.WithCancel(context.WithoutCancel(ctx))
	return l
}

// errOpening is the error while the first attempt is running.
var errOpening = &objstore.Error{Op: "open", Temporary: true, Err: fmt.Errorf("no answer from the store for %s", openWait)}

// get returns the store, or the error of the last attempt to open it.
func (l *later) get(ctx context.Context) (objstore.Store, error) {
	opening := l.begin()
	if opening == nil {
		return l.outcome()
	}
	timer := time.NewTimer(openWait)
	defer timer.Stop()
	select {
	case <-opening:
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return l.outcome()
}

func (l *later) outcome() (objstore.Store, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.store != nil {
		return l.store, nil
	}
	return nil, l.err
}

// begin starts an attempt if it is time for one, and returns the running attempt.
func (l *later) begin() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.store != nil || l.life.Err() != nil || l.opening == nil && time.Since(l.tried) < openAgain {
		return nil
	}
	if l.opening == nil {
		l.opening = make(chan struct{})
		go l.attempt(l.opening)
	}
	return l.opening
}

func (l *later) attempt(done chan struct{}) {
	s, err := l.open(l.life)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && l.life.Err() != nil { // closed meanwhile
		s, err = nil, errors.Join(l.life.Err(), closeStore(s))
	}
	l.store, l.err, l.tried, l.opening = s, err, time.Now(), nil
	close(done)
}

// Close closes the store if it was opened.
func (l *later) Close() error {
	l.end()
	l.mu.Lock()
	defer l.mu.Unlock()
	return closeStore(l.store)
}

func closeStore(s objstore.Store) error {
	if c, ok := s.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// failed returns the error of an operation without a store.
func failed(op, key string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &objstore.Error{Op: op, Key: key, Temporary: objstore.IsTemporary(err), Err: err}
}

func (l *later) Put(ctx context.Context, key string, body objstore.Body, o objstore.PutOptions) (objstore.Info, error) {
	s, err := l.get(ctx)
	if err != nil {
		return objstore.Info{}, failed("put", key, err)
	}
	return s.Put(ctx, key, body, o)
}

func (l *later) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	s, err := l.get(ctx)
	if err != nil {
		return nil, failed("get", key, err)
	}
	return s.Get(ctx, key, off, n)
}

func (l *later) Stat(ctx context.Context, key string) (objstore.Info, error) {
	s, err := l.get(ctx)
	if err != nil {
		return objstore.Info{}, failed("stat", key, err)
	}
	return s.Stat(ctx, key)
}

func (l *later) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	s, err := l.get(ctx)
	if err != nil {
		return func(yield func(objstore.Info, error) bool) { yield(objstore.Info{}, failed("list", prefix, err)) }
	}
	return s.List(ctx, prefix, startAfter)
}

func (l *later) Delete(ctx context.Context, key string) error {
	s, err := l.get(ctx)
	if err != nil {
		return failed("delete", key, err)
	}
	return s.Delete(ctx, key)
}

func (l *later) Noncurrent(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Version, error] {
	s, err := l.get(ctx)
	if err != nil {
		return func(yield func(objstore.Version, error) bool) {
			yield(objstore.Version{}, failed("noncurrent", prefix, err))
		}
	}
	return s.Noncurrent(ctx, prefix, startAfter)
}

func (l *later) DeleteVersion(ctx context.Context, v objstore.Version) error {
	s, err := l.get(ctx)
	if err != nil {
		return failed("delete-version", v.Key, err)
	}
	return s.DeleteVersion(ctx, v)
}
