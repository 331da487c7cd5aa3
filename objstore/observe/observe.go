// Package observe reports the operations on a store: to metrics, to benchmarks that count
// requests, and to tests that check the order of effects.
package observe

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// Event is a finished operation.
type Event struct {
	Op      string // of objstore.Error
	Key     string // of the object, or the prefix of a list
	Outcome string // one of the Outcomes
	Err     error  // nil when it succeeded
	Bytes   int64  // put: the body's size; get: bytes read until Close
	Keys    int    // list and noncurrent: keys or versions yielded
	Answer  time.Duration
	Total   time.Duration // get: until Close; lists: until their end. Otherwise as Answer
}

// Requests estimates the number of requests to an S3 store: a list returns 1,000 keys per
// request, and the removal of a version begins with a list.
func (e Event) Requests() int {
	if e.Op == "delete-version" {
		return 2
	}
	return 1 + max(0, e.Keys-1)/1000
}

// Hooks are called for operations, from many goroutines. nil fields are not called.
type Hooks struct {
	Start func(op, key string) // before it begins
	End   func(Event)          // a Get ends when its body is closed
}

type store struct {
	under objstore.Store
	h     Hooks
}

// New returns s with hooks. Below package retry they see each try, above it only the
// callers' operations.
func New(s objstore.Store, h Hooks) objstore.Store {
	if h.Start == nil {
		h.Start = func(string, string) {}
	}
	if h.End == nil {
		h.End = func(Event) {}
	}
	return &store{s, h}
}

// Outcomes are the values of Event.Outcome, a fixed set for metric labels.
func Outcomes() []string {
	out := []string{"ok", "temporary", "cancelled", "error"}
	for _, s := range sentinels() {
		out = append(out, s.name)
	}
	return out
}

type sentinel struct {
	err  error
	name string
}

func sentinels() []sentinel {
	return []sentinel{
		{objstore.ErrNotExist, "not_exist"}, {objstore.ErrExist, "exist"}, {objstore.ErrPrecondition, "precondition"},
		{objstore.ErrRange, "range"}, {objstore.ErrDenied, "denied"}, {objstore.ErrNoBucket, "no_bucket"},
		{objstore.ErrUnsupported, "unsupported"}, {objstore.ErrNoSpace, "no_space"}, {objstore.ErrKey, "key"},
		{objstore.ErrRetained, "retained"},
	}
}

func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	for _, s := range sentinels() {
		if errors.Is(err, s.err) {
			return s.name
		}
	}
	switch {
	case objstore.IsTemporary(err): // before the next case: a network timeout is also a DeadlineExceeded
		return "temporary"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "cancelled"
	}
	return "error"
}

// begin returns the function that ends the event.
func (s *store) begin(op, key string) func(e Event, err error) {
	s.h.Start(op, key)
	start := time.Now()
	return func(e Event, err error) {
		e.Op, e.Key, e.Err, e.Outcome, e.Total = op, key, err, outcome(err), time.Since(start)
		if e.Answer == 0 {
			e.Answer = e.Total
		}
		s.h.End(e)
	}
}

func (s *store) Put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) (objstore.Info, error) {
	end := s.begin("put", key)
	info, err := s.under.Put(ctx, key, body, opt)
	end(Event{Bytes: body.Size()}, err)
	return info, err
}

func (s *store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	end := s.begin("stat", key)
	info, err := s.under.Stat(ctx, key)
	end(Event{}, err)
	return info, err
}

func (s *store) Delete(ctx context.Context, key string) error {
	end := s.begin("delete", key)
	err := s.under.Delete(ctx, key)
	end(Event{}, err)
	return err
}

func (s *store) DeleteVersion(ctx context.Context, v objstore.Version) error {
	end := s.begin("delete-version", v.Key)
	err := s.under.DeleteVersion(ctx, v)
	end(Event{}, err)
	return err
}

func (s *store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return list(ctx, s, "list", prefix, startAfter, s.under.List)
}

func (s *store) Noncurrent(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Version, error] {
	return list(ctx, s, "noncurrent", prefix, startAfter, s.under.Noncurrent)
}

func list[T any](ctx context.Context, s *store, op, prefix, startAfter string,
	under func(ctx context.Context, prefix, startAfter string) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		end, start := s.begin(op, prefix), time.Now()
		var e Event
		var failure error
		defer func() { end(e, failure) }()
		for item, err := range under(ctx, prefix, startAfter) {
			if e.Answer == 0 {
				e.Answer = time.Since(start)
			}
			if failure = err; err == nil {
				e.Keys++
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

func (s *store) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	end, start := s.begin("get", key), time.Now()
	obj, err := s.under.Get(ctx, key, off, n)
	if err != nil {
		end(Event{}, err)
		return nil, err
	}
	obj.ReadCloser = &body{end: end, e: Event{Answer: time.Since(start)}, ReadCloser: obj.ReadCloser}
	return obj, nil
}

// body counts the bytes read; one goroutine reads and closes it.
type body struct {
	e    Event
	err  error
	end  func(Event, error)
	once sync.Once
	io.ReadCloser
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.e.Bytes += int64(n)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(func() { b.end(b.e, errors.Join(b.err, err)) })
	return err
}
