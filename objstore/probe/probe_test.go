package probe_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/dirstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/miniostore"
	"github.com/cyrusbackup/backupd/objstore/miniotest"
	"github.com/cyrusbackup/backupd/objstore/probe"
)

func run(t *testing.T, s objstore.Store) probe.Capabilities {
	t.Helper()
	c, err := probe.Run(t.Context(), s, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, s)
	return c
}

func wantEmpty(t *testing.T, s objstore.Store) {
	t.Helper()
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		t.Errorf("leftover: %s", info.Key)
	}
}

func wantAll(t *testing.T, c probe.Capabilities) {
	t.Helper()
	c.ClockSkew = c.ClockSkew.Truncate(5 * time.Second)
	want := probe.Capabilities{IfAbsent: true, IfAbsentRace: true, IfMatch: true, Range: true, Suffix: true, ListOrder: true, StoreTime: true}
	if len(c.Notes) != 0 || c.IfAbsent != want.IfAbsent || c.IfAbsentRace != want.IfAbsentRace || c.IfMatch != want.IfMatch ||
		c.Range != want.Range || c.Suffix != want.Suffix || c.ListOrder != want.ListOrder || c.StoreTime != want.StoreTime || c.ClockSkew != 0 {
		t.Errorf("%+v, want %+v", c, want)
	}
}

func TestGoodStores(t *testing.T) {
	t.Run("memory", func(t *testing.T) { wantAll(t, run(t, memstore.New(nil))) })
	t.Run("directory", func(t *testing.T) {
		s, err := dirstore.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		wantAll(t, run(t, s))
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("MinIO", func(t *testing.T) {
		if testing.Short() {
			t.Skip("needs MinIO")
		}
		srv := miniotest.Start(t)
		s, err := miniostore.Open(srv.Location(srv.NewBucket(t)), miniostore.Options{Credentials: srv.Credentials()})
		if err != nil {
			t.Fatal(err)
		}
		wantAll(t, run(t, s))
	})
	t.Run("MinIO with Object Lock", func(t *testing.T) {
		if testing.Short() {
			t.Skip("needs MinIO")
		}
		srv := miniotest.Start(t)
		s, err := miniostore.Open(srv.Location(srv.NewLockedBucket(t)), miniostore.Options{Credentials: srv.Credentials()})
		if err != nil {
			t.Fatal(err)
		}
		wantAll(t, run(t, s))
	})
}

// poor is a store with a defect that it does not report.
type poor struct {
	objstore.Store
	put  func(objstore.PutOptions) (objstore.PutOptions, error)
	get  func(off, n int64) (int64, int64)
	list func(keys []objstore.Info) []objstore.Info
}

func (p poor) Put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) (objstore.Info, error) {
	if p.put != nil {
		var err error
		if opt, err = p.put(opt); err != nil {
			return objstore.Info{}, &objstore.Error{Op: "put", Key: key, Err: err}
		}
	}
	return p.Store.Put(ctx, key, body, opt)
}

func (p poor) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	if p.get != nil {
		off, n = p.get(off, n)
	}
	return p.Store.Get(ctx, key, off, n)
}

func (p poor) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	if p.list == nil {
		return p.Store.List(ctx, prefix, after)
	}
	return func(yield func(objstore.Info, error) bool) {
		var infos []objstore.Info
		for info := range p.Store.List(ctx, prefix, after) {
			infos = append(infos, info)
		}
		for _, info := range p.list(infos) {
			if !yield(info, nil) {
				return
			}
		}
	}
}

func TestDefectiveStores(t *testing.T) {
	type caps = probe.Capabilities
	for name, c := range map[string]struct {
		poor poor
		lost func(c caps) bool // true if exactly the missing capability is reported
		note string
	}{
		"ignores conditions": {
			poor{put: func(objstore.PutOptions) (objstore.PutOptions, error) { return objstore.PutOptions{}, nil }},
			func(c caps) bool { return !c.IfAbsent && !c.IfAbsentRace && !c.IfMatch && c.Range }, "if-absent: a put with a taken key was answered with is there"},
		"knows no conditions": {
			poor{put: func(o objstore.PutOptions) (objstore.PutOptions, error) {
				if o.Conditional() {
					return o, objstore.ErrUnsupported
				}
				return o, nil
			}},
			func(c caps) bool { return !c.IfAbsent && !c.IfAbsentRace && !c.IfMatch && c.ListOrder }, "not supported"},
		"refuses every condition": {
			poor{put: func(o objstore.PutOptions) (objstore.PutOptions, error) {
				if o.IfMatch != "" {
					return o, objstore.ErrPrecondition
				}
				return o, nil
			}},
			func(c caps) bool { return c.IfAbsent && c.IfAbsentRace && !c.IfMatch }, "current ETag was refused"},
		"ignores ranges": {
			poor{get: func(off, _ int64) (int64, int64) { return max(off, 0) / 100 * 100, -1 }},
			func(c caps) bool { return !c.Range && !c.Suffix && c.IfAbsent }, "range:"},
		"knows no suffix": {
			poor{get: func(off, n int64) (int64, int64) {
				if off < 0 {
					return 1 << 20, 1
				}
				return off, n
			}},
			func(c caps) bool { return c.Range && !c.Suffix }, "suffix:"},
		"lists backwards": {
			poor{list: func(infos []objstore.Info) []objstore.Info { slices.Reverse(infos); return infos }},
			func(c caps) bool { return !c.ListOrder && c.IfAbsent }, "list:"},
		"lists without the newest": {
			poor{list: func(infos []objstore.Info) []objstore.Info { return infos[:max(0, len(infos)-1)] }},
			func(c caps) bool { return !c.ListOrder && c.IfAbsent }, "list:"},
	} {
		t.Run(name, func(t *testing.T) {
			m := memstore.New(nil)
			c.poor.Store = m
			got, err := probe.Run(t.Context(), c.poor, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			if !c.lost(got) || !strings.Contains(strings.Join(got.Notes, "\n"), c.note) {
				t.Errorf("%+v, want a note with %q", got, c.note)
			}
			wantEmpty(t, m)
		})
	}
}

// lateWriter lets all concurrent writers win: it checks first and writes later, like a
// store without atomic conditions.
type lateWriter struct {
	objstore.Store
	mu    *sync.Mutex
	races map[string]*sync.WaitGroup
}

// twice is a store whose requests sometimes arrive twice, as if a load balancer repeated
// them: the answer is for the copy.
type twice struct {
	objstore.Store
	which func(nth int64, opt objstore.PutOptions) bool
	n     *atomic.Int64
}

func (s twice) Put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) (objstore.Info, error) {
	info, err := s.Store.Put(ctx, key, body, opt)
	if s.which(s.n.Add(1), opt) {
		return s.Store.Put(ctx, key, body, opt)
	}
	return info, err
}

func TestRequestsThatArriveTwice(t *testing.T) {
	for name, which := range map[string]func(int64, objstore.PutOptions) bool{
		"all":             func(int64, objstore.PutOptions) bool { return true },
		"all conditional": func(_ int64, o objstore.PutOptions) bool { return o.Conditional() },
		"every third":     func(n int64, _ objstore.PutOptions) bool { return n%3 == 0 },
	} {
		t.Run(name, func(t *testing.T) {
			wantAll(t, run(t, twice{memstore.New(nil), which, new(atomic.Int64)}))
		})
	}
}

// TestFlukes: a capability that is missing a few times and then stays is not missing.
func TestFlukes(t *testing.T) {
	fluke := func(bad func(n int64) bool) probe.Capabilities {
		var absent atomic.Int64
		return run(t, poor{Store: memstore.New(nil), put: func(o objstore.PutOptions) (objstore.PutOptions, error) {
			if o.IfAbsent && bad(absent.Add(1)) {
				return o, objstore.ErrUnsupported
			}
			return o, nil
		}})
	}
	for _, n := range []int64{1, 2} {
		wantAll(t, fluke(func(i int64) bool { return i <= n }))
	}
	if c := fluke(func(i int64) bool { return i <= 3 }); c.IfAbsent || len(c.Notes) == 0 {
		t.Errorf("missed three times: %+v", c)
	}
	// Every other round fails: a store behind two gateways, one of which does not support
	// conditions.
	if c := fluke(func(i int64) bool { return i%3 == 1 }); c.IfAbsent || len(c.Notes) == 0 {
		t.Errorf("missed every other time: %+v", c)
	}
}

const racers = 8 // the number of concurrent writers of the probe

// allLooked waits until all writers of the key have come this far.
func (l lateWriter) allLooked(key string) {
	l.mu.Lock()
	race := l.races[key]
	if race == nil {
		race = new(sync.WaitGroup)
		race.Add(racers)
		l.races[key] = race
	}
	l.mu.Unlock()
	race.Done()
	race.Wait()
}

func (l lateWriter) Put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) (objstore.Info, error) {
	if opt.IfAbsent && strings.Contains(key, "-race") {
		l.allLooked(key)
		opt = objstore.PutOptions{}
	}
	return l.Store.Put(ctx, key, body, opt)
}

func TestRacingStore(t *testing.T) {
	s := lateWriter{memstore.New(nil), new(sync.Mutex), make(map[string]*sync.WaitGroup)}
	c, err := probe.Run(t.Context(), s, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if !c.IfAbsent || c.IfAbsentRace || len(c.Notes) == 0 {
		t.Errorf("%+v, want that races are lost", c)
	}
}

func TestClockSkew(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 1, time.UTC)
	s := memstore.New(func() time.Time { return now.Add(-90 * time.Second) })
	c, err := probe.Run(t.Context(), s, func() time.Time { return now })
	if err != nil || c.ClockSkew != -90*time.Second {
		t.Errorf("skew %v, %v, want -90s", c.ClockSkew, err)
	}
}

// TestTrouble: an error that is not an answer to the condition ends the probe, which still
// cleans up.
func TestTrouble(t *testing.T) {
	for n := 1; ; n++ {
		m := memstore.New(nil)
		var failed atomic.Bool // the probe's writers run in several goroutines
		nth := memstore.Nth(n, nil)
		m.SetFaults(func(op, key string) error {
			err := nth(op, key)
			if err != nil {
				failed.Store(true)
			}
			return err
		}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := probe.Run(ctx, m, time.Now)
		cancel()
		if !failed.Load() {
			break // fewer than n calls
		}
		m.SetFaults(nil, nil)
		if err != nil && !errors.Is(err, memstore.ErrInjected) {
			t.Fatalf("call %d fails: %v", n, err)
		}
		if n < 30 { // later ones may be the removals themselves
			wantEmpty(t, m)
		}
	}
	m := memstore.New(nil)
	m.SetFaults(func(op, _ string) error {
		if op == "put" {
			return &objstore.Error{Op: op, Err: objstore.ErrDenied}
		}
		return nil
	}, nil)
	if _, err := probe.Run(t.Context(), m, time.Now); !errors.Is(err, objstore.ErrDenied) || !strings.Contains(err.Error(), "read back") {
		t.Errorf("a read-only store: %v", err)
	}
}

func TestLeftovers(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	m := memstore.New(func() time.Time { return now })
	put := func(key string) {
		if _, err := m.Put(t.Context(), key, bytes.NewReader(nil), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put("probe/old-plain")
	put("probed")
	now = now.Add(25 * time.Hour)
	put("probe/new-plain")
	if _, err := probe.Run(t.Context(), m, func() time.Time { return now }); err != nil {
		t.Fatal(err)
	}
	var left []string
	for info := range m.List(t.Context(), "", "") {
		left = append(left, info.Key)
	}
	if got := strings.Join(left, " "); got != "probe/new-plain probed" {
		t.Errorf("left: %s", got)
	}
}

// noDelete is a store whose keys may not delete.
type noDelete struct{ objstore.Store }

func (s noDelete) Delete(_ context.Context, key string) error {
	return &objstore.Error{Op: "delete", Key: key, Err: objstore.ErrDenied}
}

// Without the right to delete, the probe leaves one object, however often it runs. A later probe with
// that right removes it when it is a day old.
func TestKeeping(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	m := memstore.New(clock)
	for range 3 {
		c, err := probe.Keeping(t.Context(), noDelete{m}, clock)
		if err != nil {
			t.Fatal(err)
		}
		wantAll(t, c)
		var keys []string
		for info, err := range m.List(t.Context(), "", "") {
			keys = append(keys, info.Key)
			if err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(keys, []string{probe.Kept}) {
			t.Errorf("objects %q", keys)
		}
	}
	now = now.Add(25 * time.Hour)
	if _, err := probe.Run(t.Context(), m, clock); err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, m)
}

// Keeping finds what a store lacks.
func TestKeepingNotes(t *testing.T) {
	c, err := probe.Keeping(t.Context(), unconditional{memstore.New(nil)}, time.Now)
	if err != nil || c.IfAbsent || c.IfAbsentRace || c.IfMatch || len(c.Notes) != 2 {
		t.Errorf("%+v, %v", c, err)
	}
}

// unconditional ignores conditions.
type unconditional struct{ objstore.Store }

func (s unconditional) Put(ctx context.Context, key string, body objstore.Body, _ objstore.PutOptions) (objstore.Info, error) {
	return s.Store.Put(ctx, key, body, objstore.PutOptions{})
}
