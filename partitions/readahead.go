package partitions

import "iter"

// readAhead runs seq in another goroutine, so that reading and decoding overlap with the work
// of the loop, which mostly waits for the disk of the index. It passes values in groups of n
// and holds two groups. seq has ended when the loop has.
func readAhead[T any](n int, seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		a := &aheadOf[T]{groups: make(chan group[T], 1), stop: make(chan struct{})}
		go a.run(n, seq)
		defer a.end()
		for g := range a.groups {
			for _, v := range g.values {
				if !yield(v, nil) {
					return
				}
			}
			if g.panicked != nil {
				panic(g.panicked)
			}
			if g.err != nil {
				var none T
				yield(none, g.err)
				return
			}
		}
	}
}

type aheadOf[T any] struct {
	groups chan group[T] // closed when seq has ended
	stop   chan struct{} // closed when the loop has ended
}

type group[T any] struct {
	values   []T
	err      error
	panicked any // of seq, for the goroutine of the loop
}

func (a *aheadOf[T]) run(n int, seq iter.Seq2[T, error]) {
	defer close(a.groups)
	var last group[T]
	defer func() {
		last.panicked = recover()
		a.send(last)
	}()
	for v, err := range seq {
		if err != nil {
			last.err = err
			return
		}
		if last.values = append(last.values, v); len(last.values) < n {
			continue
		}
		if !a.send(last) {
			last.values = nil
			return
		}
		last.values = make([]T, 0, n)
	}
}

func (a *aheadOf[T]) send(g group[T]) bool {
	select {
	case a.groups <- g:
		return true
	case <-a.stop:
		return false
	}
}

// end waits until seq has ended.
func (a *aheadOf[T]) end() {
	close(a.stop)
	for range a.groups { // until run closes it
	}
}
