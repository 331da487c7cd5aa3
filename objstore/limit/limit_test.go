package limit_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/limit"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/objstoretest"
)

func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(testing.TB) objstore.Store {
		return limit.New(memstore.New(nil), limit.Options{Requests: 1, Upload: 1 << 30, Download: 1 << 30})
	})
}

func TestVersions(t *testing.T) {
	objstoretest.RunVersioned(t, func(testing.TB) objstore.Store {
		return limit.New(memstore.NewVersioned(nil), limit.Options{Requests: 1})
	})
}

func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memstore.New(nil)
		var mu sync.Mutex
		now, most := 0, 0
		m.SetFaults(func(string, string) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second) // fake clock
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		}, nil)
		s := limit.New(m, limit.Options{Requests: 3})
		start := time.Now()
		var wg sync.WaitGroup
		for range 12 {
			wg.Go(func() {
				if err := s.Delete(t.Context(), "k"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); most != 3 || took != 4*time.Second {
			t.Errorf("at most %d at once, %v for 12 requests of a second; want 3 and 4s", most, took)
		}
	})
}

func TestBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limit.New(memstore.New(nil), limit.Options{Upload: 1 << 20, Download: 2 << 20})
		start := time.Now()
		for range 4 {
			if _, err := s.Put(t.Context(), "k", bytes.NewReader(make([]byte, 5<<20)), objstore.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		between(t, "20 MiB up at 1 MiB/s", time.Since(start), 19*time.Second, 20*time.Second)
		start = time.Now()
		for range 4 {
			obj, err := s.Get(t.Context(), "k", 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, obj); n != 5<<20 || err != nil {
				t.Errorf("read %d, %v", n, err)
			}
		}
		between(t, "20 MiB down at 2 MiB/s", time.Since(start), 9*time.Second, 10*time.Second)
	})
}

func between(t *testing.T, what string, took, low, high time.Duration) {
	t.Helper()
	if took < low || took > high {
		t.Errorf("%s took %v, want %v to %v", what, took, low, high)
	}
}

func TestContextEndsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limit.New(memstore.New(nil), limit.Options{Upload: 100})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := s.Put(ctx, "k", bytes.NewReader(make([]byte, 1<<20)), objstore.PutOptions{})
		if !errors.Is(err, context.DeadlineExceeded) || objstore.IsTemporary(err) {
			t.Errorf("put: %v", err)
		}
	})
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limit.New(memstore.New(nil), limit.Options{Rate: 10})
		begun := time.Now() // fake clock
		for range 7 {
			if err := s.Delete(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			for _, err := range s.List(t.Context(), "", "") {
				t.Fatal(err)
			}
			if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, objstore.ErrNotExist) {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took != 2*time.Second { // the first of 21 calls is free
			t.Errorf("21 calls took %v, want 2s", took)
		}
	})
}
