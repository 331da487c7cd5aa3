package metrics

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// A value is read in the background when somebody asks for it, not before it is due, and for a small
// share of the time.
func TestReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackground(slog.New(slog.DiscardHandler), time.Now)
		defer b.end()
		n, takes, fails := 0, time.Second, error(nil)
		r := newReading(b, "numbers", func(int) time.Duration { return time.Minute }, func(context.Context) (int, error) {
			n++
			time.Sleep(takes)
			return n, fails
		})
		expect := func(when string, want int) {
			t.Helper()
			if v, _, ok := r.get(); v != want || ok != (want > 0) {
				t.Errorf("%s: %d, %v; want %d", when, v, ok, want)
			}
			synctest.Wait()
		}
		time.Sleep(time.Hour)
		if n != 0 {
			t.Errorf("read %d times, and nobody has asked", n)
		}
		expect("the first time", 1)
		time.Sleep(59 * time.Second)
		expect("not due", 1)
		time.Sleep(2 * time.Second)
		takes = 10 * time.Second
		expect("due", 1) // it does not wait
		time.Sleep(11 * time.Second)
		expect("read", 2)
		time.Sleep(costShare*takes - 2*time.Second)
		expect("expensive", 2)
		takes, fails = 0, errors.New("the index is closed")
		time.Sleep(2 * time.Second)
		expect("begins to fail", 2)
		expect("fails", 2)
		fails = nil
		time.Sleep(firstWait + time.Second)
		expect("begins again", 2)
		expect("works again", 4)
	})
}

// The first reader waits only for a while.
func TestReadingHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackground(slog.New(slog.DiscardHandler), time.Now)
		defer b.end()
		r := newReading(b, "numbers", func(int) time.Duration { return time.Minute }, func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		began := time.Now()
		if _, _, ok := r.get(); ok || time.Since(began) != firstWait {
			t.Errorf("ok %v after %v", ok, time.Since(began))
		}
	})
}

// A refresh ends although the reading that it begins is over at once.
func TestRefresh(t *testing.T) {
	b := newBackground(slog.New(slog.DiscardHandler), time.Now)
	defer b.end()
	n := 0
	newReading(b, "numbers", func(int) time.Duration { return time.Hour }, func(context.Context) (int, error) {
		n++
		return n, nil
	})
	for range 1000 {
		if err := b.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n != 2000 {
		t.Errorf("read %d times, want 2000", n)
	}
}
