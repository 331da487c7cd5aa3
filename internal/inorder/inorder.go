// Package inorder works on the elements of a sequence side by side, and keeps their order.
package inorder

import (
	"context"
	"iter"
	"sync"
)

// Limit bounds the elements in work at a time.
type Limit[In any] struct {
	Count int // at least one
	// Weight bounds the total weight, by Of, of the elements in work. A heavier element is worked
	// on alone. 0 = no bound.
	Weight int64
	Of     func(In) int64
}

// Map calls fn for the elements of in, several at a time, and yields the results in the order of
// the elements. It reads in on the goroutine of the loop, and not far ahead of the loop. fn runs on
// other goroutines. Its channel is closed when the loop waits for this very result: fn may then
// use what belongs to the loop. The context of fn ends with ctx or with the loop; no fn runs after
// the loop.
func Map[In, Out any](ctx context.Context, most Limit[In], in iter.Seq[In], fn func(context.Context, <-chan struct{}, In) Out) iter.Seq[Out] {
	return func(yield func(Out) bool) {
		w := work[In, Out]{most: most, fn: fn}
		var stop func()
		w.next, stop = iter.Pull(in)
		defer stop()
		defer w.all.Wait()
		var cancel context.CancelFunc
		w.ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		for w.fill(); len(w.running) > 0; w.fill() {
			first := w.running[0]
			close(first.turn)
			out := <-first.out
			w.running = w.running[1:]
			w.weight -= first.weight
			if !yield(out) {
				return
			}
		}
	}
}

// work is a run of Map.
type work[In, Out any] struct {
	ctx     context.Context // of the run
	most    Limit[In]
	fn      func(context.Context, <-chan struct{}, In) Out
	next    func() (In, bool)
	ahead   *In // read, but too heavy beside those in work
	end     bool
	running []job[Out]
	weight  int64 // of running
	all     sync.WaitGroup
}

// job is the work on one element.
type job[Out any] struct {
	weight int64
	turn   chan struct{}
	out    chan Out
}

// fill begins to work on as many elements as the limit allows.
func (w *work[In, Out]) fill() {
	for len(w.running) < max(w.most.Count, 1) && w.read() {
		j := job[Out]{turn: make(chan struct{}), out: make(chan Out, 1)}
		if w.most.Weight > 0 {
			j.weight = min(w.most.Of(*w.ahead), w.most.Weight)
		}
		if len(w.running) > 0 && w.weight+j.weight > w.most.Weight {
			return
		}
		v := *w.ahead
		w.ahead = nil
		w.weight += j.weight
		w.running = append(w.running, j)
		w.all.Go(func() { j.out <- w.fn(w.ctx, j.turn, v) })
	}
}

// read reads the next element ahead; it returns false at the end.
func (w *work[In, Out]) read() bool {
	if w.ahead == nil && !w.end {
		v, ok := w.next()
		w.ahead, w.end = &v, !ok
	}
	return !w.end
}
