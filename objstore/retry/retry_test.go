package retry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/objstoretest"
	"github.com/cyrusbackup/backupd/objstore/retry"
)

func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(testing.TB) objstore.Store { return retry.New(memstore.New(nil), retry.Options{}) })
}

// TestVersions: every third call about versions fails.
func TestVersions(t *testing.T) {
	objstoretest.RunVersioned(t, func(testing.TB) objstore.Store {
		m := memstore.NewVersioned(nil)
		var calls atomic.Int64
		fault := func(op, _ string) error {
			if (op == "noncurrent" || op == "delete-version") && calls.Add(1)%3 == 0 {
				return memstore.ErrInjected
			}
			return nil
		}
		m.SetFaults(fault, fault)
		return retry.New(m, retry.Options{Initial: time.Microsecond})
	})
}

// TestConformanceWithFaults: every third repeatable call fails, before or after it takes
// effect, without any visible effect.
func TestConformanceWithFaults(t *testing.T) {
	objstoretest.Run(t, func(testing.TB) objstore.Store {
		m := memstore.New(nil)
		calls := make(chan int, 1)
		calls <- 0
		fault := func(op, _ string) error {
			n := <-calls + 1
			calls <- n
			if op != "put" && n%3 == 0 { // puts in the suite are mostly conditional
				return memstore.ErrInjected
			}
			return nil
		}
		m.SetFaults(fault, fault)
		return retry.New(m, retry.Options{Initial: time.Microsecond})
	})
}

func body(s string) objstore.Body { return bytes.NewReader([]byte(s)) }

func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memstore.New(nil)
		tries := 0
		m.SetFaults(func(string, string) error { tries++; return memstore.ErrInjected }, nil)
		var pauses []time.Duration
		s := retry.New(m, retry.Options{MaxElapsed: time.Minute, Initial: time.Second, MaxPause: 8 * time.Second,
			Notify: func(_ error, pause time.Duration) { pauses = append(pauses, pause) }})
		start := time.Now()
		_, err := s.Stat(t.Context(), "k")
		if !errors.Is(err, memstore.ErrInjected) {
			t.Errorf("stat: %v", err)
		}
		if took := time.Since(start); took < 45*time.Second || took > time.Minute {
			t.Errorf("returned after %v, want nearly a minute", took)
		}
		if tries != len(pauses)+1 {
			t.Errorf("%d tries, %d pauses", tries, len(pauses))
		}
		for i, p := range pauses {
			if mean := min(time.Second<<i, 8*time.Second); p < mean/2 || p > mean*3/2+1 {
				t.Errorf("pause %d: %v, want around %v", i, p, mean)
			}
		}
	})
}

func TestNotRepeated(t *testing.T) {
	m := memstore.New(nil)
	if _, err := m.Put(t.Context(), "k", body("x"), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	tries := 0
	var fail error
	m.SetFaults(func(string, string) error { tries++; return fail }, nil)
	s := retry.New(m, retry.Options{Initial: time.Microsecond})
	for name, c := range map[string]struct {
		err  error
		call func() error
	}{
		"conditional put": {memstore.ErrInjected, func() error {
			_, err := s.Put(t.Context(), "new", body("x"), objstore.PutOptions{IfAbsent: true})
			return err
		}},
		"put over a version": {memstore.ErrInjected, func() error {
			_, err := s.Put(t.Context(), "k", body("x"), objstore.PutOptions{IfMatch: "v1"})
			return err
		}},
		"keys refused":    {&objstore.Error{Err: objstore.ErrCredentials, Temporary: true}, func() error { return s.Delete(t.Context(), "k") }},
		"permanent error": {&objstore.Error{Err: objstore.ErrDenied}, func() error { return s.Delete(t.Context(), "k") }},
	} {
		tries, fail = 0, c.err
		if err := c.call(); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", name, err)
		}
		if tries != 1 {
			t.Errorf("%s: %d tries, want 1", name, tries)
		}
	}
}

func TestContextEndsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memstore.New(nil)
		m.SetFaults(func(string, string) error { return memstore.ErrInjected }, nil)
		s := retry.New(m, retry.Options{Initial: 40 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := s.Delete(ctx, "k")
		var e *objstore.Error
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) || e.Key != "k" || !strings.Contains(err.Error(), "injected") {
			t.Errorf("delete: %v, want the deadline and the cause of the wait", err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestListResumes(t *testing.T) {
	m := memstore.New(nil)
	for _, key := range []string{"a", "b", "c", "d"} {
		if _, err := m.Put(t.Context(), key, body(key), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	s := retry.New(&choppy{Store: m}, retry.Options{Initial: time.Microsecond})
	var keys []string
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	if got := strings.Join(keys, ""); got != "abcd" {
		t.Errorf("listed %q", got)
	}
}

// A list of versions repeats the versions of the last key. It ends if the store never gets to
// its end.
func TestNoncurrentResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memstore.NewVersioned(nil)
		put := func(key string, times int) {
			for range times {
				if _, err := m.Put(t.Context(), key, body(key), objstore.PutOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, key := range []string{"a", "b", "c", "d"} {
			put(key, 3) // two of them are noncurrent
		}
		s := retry.New(&choppy{Store: m}, retry.Options{})
		list := func() (found map[objstore.Version]bool, err error) {
			found = map[objstore.Version]bool{}
			for v, err := range s.Noncurrent(t.Context(), "", "") {
				if err != nil {
					return found, err
				}
				v.StoreTime = time.Time{}
				found[v] = true
			}
			return found, nil
		}
		for range 2 {
			if found, err := list(); err != nil || len(found) != 8 {
				t.Errorf("%d versions, %v; want 8", len(found), err)
			}
		}
		put("b2", 5)
		start := time.Now()
		if found, err := list(); !errors.Is(err, memstore.ErrInjected) || len(found) != 4+3 || time.Since(start) > 5*time.Minute {
			t.Errorf("%d versions, %v after %v; want 7 and an error", len(found), err, time.Since(start))
		}
	})
}

func TestBodyResumes(t *testing.T) {
	m := memstore.New(nil)
	const text = "the quick brown fox jumps over the lazy dog"
	if _, err := m.Put(t.Context(), "k", body(text), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*choppy{"errors": {Store: m}, "early ends": {Store: m, eof: true}} {
		for _, c := range []struct {
			off, n int64
			want   string
		}{{0, -1, text}, {4, 11, text[4:15]}, {-8, 0, text[len(text)-8:]}, {40, 100, text[40:]}} {
			obj, err := retry.New(s, retry.Options{Initial: time.Microsecond}).Get(t.Context(), "k", c.off, c.n)
			if err != nil {
				t.Fatalf("%s: get: %v", name, err)
			}
			got, err := io.ReadAll(obj)
			if err != nil || string(got) != c.want {
				t.Errorf("%s: get %d %d: %q, %v", name, c.off, c.n, got, err)
			}
		}
	}
}

func TestBodyOfAnotherVersion(t *testing.T) {
	m := memstore.New(nil)
	put := func(text string) {
		if _, err := m.Put(t.Context(), "k", body(text), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put("one version")
	obj, err := retry.New(&choppy{Store: m}, retry.Options{Initial: time.Microsecond}).Get(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	put("two version")
	if got, err := io.ReadAll(obj); !errors.Is(err, objstore.ErrPrecondition) || !strings.HasPrefix("one version", string(got)) {
		t.Errorf("read %q, %v; want that the object has changed", got, err)
	}
}
