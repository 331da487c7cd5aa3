package partitions

import (
	"errors"
	"iter"
	"testing"
)

func counting(n int, err error, ended *bool) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		defer func() { *ended = true }()
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
		if err != nil {
			yield(0, err)
		}
	}
}

func TestReadAhead(t *testing.T) {
	boom := errors.New("boom")
	for _, n := range []int{0, 1, 9, 10, 11, 100} {
		for _, want := range []error{nil, boom} {
			ended, next := false, 0
			var got error
			for v, err := range readAhead(10, counting(n, want, &ended)) {
				if err != nil {
					got = err
					break
				}
				if v != next {
					t.Fatalf("%d after %d", v, next-1)
				}
				next++
			}
			if next != n || !errors.Is(got, want) || !ended {
				t.Errorf("%d of %d values, %v, ended %t", next, n, got, ended)
			}
		}
	}
}

// A loop that ends early, or panics, ends the sequence first.
func TestReadAheadEndsEarly(t *testing.T) {
	ended := false
	for v := range readAhead(10, counting(1_000_000, nil, &ended)) {
		if v == 25 {
			break
		}
	}
	if !ended {
		t.Error("the sequence goes on")
	}
	panics := func(yield func(int, error) bool) { panic("boom") }
	defer func() {
		if p := recover(); p != "boom" {
			t.Errorf("recovered %v", p)
		}
	}()
	for v, err := range readAhead(10, panics) {
		t.Errorf("value %d, %v", v, err)
	}
}
