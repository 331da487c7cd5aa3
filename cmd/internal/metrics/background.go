package metrics

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

const (
	// firstWait is how long a reader waits for values that were never read. Prometheus waits ten seconds
	// for all metrics.
	firstWait = 3 * time.Second
	// costShare is the share of time that may be spent on values: after a reading that took a second,
	// the next one begins costShare seconds later or when they are due.
	costShare = 50
)

// background reads values in the background, for as long as the daemon has its index.
type background struct {
	log    *slog.Logger
	now    func() time.Time
	life   context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	all    []interface{ refresh(context.Context) error } // readings
}

func newBackground(log *slog.Logger, now func() time.Time) *background {
	b := &background{log: log, now: now}
	b.life, b.cancel = context.WithCancel(context.Background())
	return b
}

func (b *background) end() {
	b.cancel()
	b.work.Wait()
}

func (b *background) refresh(ctx context.Context) error {
	for _, r := range b.all {
		if err := r.refresh(ctx); err != nil {
			return err
		}
	}
	return nil
}

// reading is a value that is read when somebody asks for it and the last one is old.
type reading[T any] struct {
	b     *background
	what  string // for the log
	read  func(context.Context) (T, error)
	ready chan struct{} // closed when there is a value

	// due is how old a value becomes. It may depend on the value.
	due func(T) time.Duration

	mu      sync.Mutex
	value   T
	at      time.Time     // when it was read; zero = never
	next    time.Time     // when the next one is due
	running chan struct{} // closed at the end of the running one; nil: none is running
}

// newReading makes a reading. due is how old its value becomes before it is read again.
func newReading[T any](b *background, what string, due func(T) time.Duration, read func(context.Context) (T, error)) *reading[T] {
	r := &reading[T]{b: b, what: what, read: read, due: due, ready: make(chan struct{})}
	b.all = append(b.all, r)
	return r
}

// get returns the last value, and when it was read. It begins to read another one if that is due. ok is
// false if there is none yet.
func (r *reading[T]) get() (v T, at time.Time, ok bool) {
	r.begin()
	timer := time.NewTimer(firstWait)
	defer timer.Stop()
	select {
	case <-r.ready:
	case <-timer.C:
	case <-r.b.life.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.value, r.at, !r.at.IsZero()
}

// begin begins a reading if it is due, and returns the channel that is closed at the end of the running
// one; nil: none is running.
func (r *reading[T]) begin() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running == nil && !time.Now().Before(r.next) && r.b.life.Err() == nil {
		r.running = make(chan struct{})
		r.b.work.Go(r.run)
	}
	return r.running
}

// refresh reads a new value, after the end of a reading that has begun.
func (r *reading[T]) refresh(ctx context.Context) error {
	for range 2 {
		r.mu.Lock()
		r.next = time.Time{}
		r.mu.Unlock()
		running := r.begin()
		if running == nil {
			return r.b.life.Err()
		}
		select {
		case <-running:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (r *reading[T]) run() {
	began := time.Now()
	v, err := r.read(r.b.life)
	took := time.Since(began)
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.running)
	r.running = nil
	if err != nil {
		r.next = time.Now().Add(max(firstWait, costShare*took))
		if !errors.Is(err, context.Canceled) {
			r.b.log.Info("some metrics are unknown or old", "metrics", r.what, "err", err)
		}
		return
	}
	r.next = time.Now().Add(max(r.due(v), costShare*took))
	if r.at.IsZero() {
		close(r.ready)
	}
	r.value, r.at = v, r.b.now()
}
