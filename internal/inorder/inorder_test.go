package inorder_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyrusbackup/backupd/internal/inorder"
)

func numbers(n int, read *int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			*read = i + 1
			if !yield(i) {
				return
			}
		}
	}
}

func TestMapKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		var got []int
		read := 0
		for v := range inorder.Map(t.Context(), inorder.Limit[int]{Count: 8}, numbers(100, &read), func(_ context.Context, _ <-chan struct{}, v int) int {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Duration(100-v) * time.Second)
			now.Add(-1)
			return v
		}) {
			if got = append(got, v); read > v+8 {
				t.Fatalf("%d elements are read when result %d is yielded", read, v)
			}
		}
		if !slices.IsSorted(got) || len(got) != 100 {
			t.Errorf("yielded %v", got)
		}
		if most.Load() != 8 {
			t.Errorf("%d at a time, want 8", most.Load())
		}
	})
}

func TestMapStopsWithTheLoop(t *testing.T) {
	read, ended := 0, atomic.Int32{}
	for range inorder.Map(t.Context(), inorder.Limit[int]{Count: 4}, numbers(100, &read), func(ctx context.Context, _ <-chan struct{}, v int) int {
		defer ended.Add(1)
		if v > 0 {
			<-ctx.Done()
		}
		return v
	}) {
		break
	}
	if ended.Load() != 4 || read != 4 {
		t.Errorf("%d of 4 have ended after the loop; %d elements are read", ended.Load(), read)
	}
}

func TestMapTellsTheTurn(t *testing.T) {
	read, shared := 0, 0 // written without a lock: go test -race shows an error of Map
	for v := range inorder.Map(t.Context(), inorder.Limit[int]{Count: 4}, numbers(20, &read), func(_ context.Context, turn <-chan struct{}, v int) int {
		<-turn
		shared++
		return v
	}) {
		if shared++; shared != 2*(v+1) {
			t.Fatalf("element %d: %d", v, shared)
		}
	}
}

func TestMapLimitsWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		weights := []int{1, 2, 9, 50, 1, 1, 1, 1, 10, 3}
		var now, most atomic.Int64
		n := 0
		for v := range inorder.Map(t.Context(), inorder.Limit[int]{Count: 4, Weight: 10, Of: func(w int) int64 { return int64(w) }},
			slices.Values(weights), func(_ context.Context, _ <-chan struct{}, v int) int {
				most.Store(max(most.Load(), now.Add(int64(min(v, 10)))))
				time.Sleep(time.Duration(60-v) * time.Second)
				now.Add(-int64(min(v, 10)))
				return v
			}) {
			if v != weights[n] {
				t.Fatalf("result %d is %d, want %d", n, v, weights[n])
			}
			n++
		}
		if n != len(weights) || most.Load() != 10 {
			t.Errorf("%d results, weights up to %d at a time, want 10", n, most.Load())
		}
	})
}
