// Package limit limits a store's requests, concurrent and per second, and bytes per second.
package limit

import (
	"context"
	"fmt"
	"io"
	"iter"

	"golang.org/x/time/rate"

	"github.com/cyrusbackup/backupd/objstore"
)

// Options are the limits; zero means no limit.
type Options struct {
	Requests int   // concurrent. A Get counts until it is answered, not while its body is read
	Rate     int   // calls per second; a List counts as one, however many pages it has
	Upload   int64 // bytes per second
	Download int64 // bytes per second
}

// minBurst is the number of bytes that may pass at once even with a low limit.
const minBurst = 64 << 10

type store struct {
	under    objstore.Store
	slots    chan struct{} // nil without a limit
	rate     *rate.Limiter // nil without a limit
	up, down *rate.Limiter // nil without a limit
}

// New returns s with limits, which all users of the returned store share. Waiting ends with
// the context. A body waits for all its bytes before it is sent, then goes at full speed;
// the limit holds on average.
func New(s objstore.Store, o Options) objstore.Store {
	l := &store{under: s, up: limiter(o.Upload), down: limiter(o.Download)}
	if o.Requests > 0 {
		l.slots = make(chan struct{}, o.Requests)
	}
	if o.Rate > 0 {
		l.rate = rate.NewLimiter(rate.Limit(o.Rate), 1)
	}
	return l
}

func limiter(bytes int64) *rate.Limiter {
	if bytes <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bytes), int(max(minBurst, min(bytes/4, 4<<20))))
}

func (s *store) Put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) (objstore.Info, error) {
	if err := pay(ctx, s.up, body.Size()); err != nil {
		return objstore.Info{}, &objstore.Error{Op: "put", Key: key, Err: err}
	}
	if err := s.begin(ctx); err != nil {
		return objstore.Info{}, &objstore.Error{Op: "put", Key: key, Err: err}
	}
	defer s.leave()
	return s.under.Put(ctx, key, body, opt)
}

func (s *store) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	if err := s.begin(ctx); err != nil {
		return nil, &objstore.Error{Op: "get", Key: key, Err: err}
	}
	defer s.leave()
	obj, err := s.under.Get(ctx, key, off, n)
	if err != nil || s.down == nil {
		return obj, err
	}
	obj.ReadCloser = &body{ctx: ctx, key: key, limit: s.down, ReadCloser: obj.ReadCloser}
	return obj, nil
}

func (s *store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	if err := s.begin(ctx); err != nil {
		return objstore.Info{}, &objstore.Error{Op: "stat", Key: key, Err: err}
	}
	defer s.leave()
	return s.under.Stat(ctx, key)
}

func (s *store) Delete(ctx context.Context, key string) error {
	if err := s.begin(ctx); err != nil {
		return &objstore.Error{Op: "delete", Key: key, Err: err}
	}
	defer s.leave()
	return s.under.Delete(ctx, key)
}

func (s *store) DeleteVersion(ctx context.Context, v objstore.Version) error {
	if err := s.begin(ctx); err != nil {
		return &objstore.Error{Op: "delete-version", Key: v.Key, Err: err}
	}
	defer s.leave()
	return s.under.DeleteVersion(ctx, v)
}

func (s *store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return list(ctx, s, "list", prefix, startAfter, s.under.List)
}

func (s *store) Noncurrent(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Version, error] {
	return list(ctx, s, "noncurrent", prefix, startAfter, s.under.Noncurrent)
}

// list holds a slot only during requests, because the consumer may use the store itself.
func list[T any](ctx context.Context, s *store, op, prefix, startAfter string,
	under func(ctx context.Context, prefix, startAfter string) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if err := s.begin(ctx); err != nil {
			yield(none, &objstore.Error{Op: op, Key: prefix, Err: err})
			return
		}
		held := true
		defer func() {
			if held {
				s.leave()
			}
		}()
		for item, err := range under(ctx, prefix, startAfter) {
			s.leave()
			held = false
			if !yield(item, err) || err != nil {
				return
			}
			if err := s.enter(ctx); err != nil {
				yield(none, &objstore.Error{Op: op, Key: prefix, Err: err})
				return
			}
			held = true
		}
	}
}

// begin waits until another call is allowed.
func (s *store) begin(ctx context.Context) error {
	if err := pay(ctx, s.rate, 1); err != nil {
		return err
	}
	return s.enter(ctx)
}

func (s *store) enter(ctx context.Context) error {
	if s.slots == nil {
		return nil
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *store) leave() {
	if s.slots != nil {
		<-s.slots
	}
}

// pay waits until n bytes may pass.
func pay(ctx context.Context, l *rate.Limiter, n int64) error {
	if l == nil {
		return nil
	}
	for n > 0 {
		part := min(n, int64(l.Burst()))
		if err := l.WaitN(ctx, int(part)); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			// The limiter immediately refuses a wait beyond the deadline.
			return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
		}
		n -= part
	}
	return nil
}

type body struct {
	ctx   context.Context // of the Get
	key   string
	limit *rate.Limiter
	io.ReadCloser
}

func (b *body) Read(p []byte) (int, error) {
	if burst := b.limit.Burst(); len(p) > burst {
		p = p[:burst]
	}
	n, err := b.ReadCloser.Read(p)
	if e := pay(b.ctx, b.limit, int64(n)); e != nil {
		return n, &objstore.Error{Op: "get", Key: b.key, Err: e}
	}
	return n, err
}
