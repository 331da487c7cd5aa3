//go:build lapse

// Package clock is the time of programs for tests. Days pass within seconds, for this host and
// for the stores alike, as a file says that LAPSE_FILE names. Each of its lines is a time in
// Unix seconds, and by how many seconds all clocks are set forward at that time.
package clock

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// Now returns the time of this host.
func Now() time.Time { return later(time.Now()) }

// later converts the true time. A file that cannot be read must end the program: with another
// time, it would remove the wrong objects.
func later(t time.Time) time.Time {
	name := os.Getenv("LAPSE_FILE")
	if name == "" || t.IsZero() {
		return t
	}
	b, err := os.ReadFile(name)
	if err != nil {
		fail(err)
	}
	var by time.Duration
	for line := range strings.Lines(string(b)) {
		from, add, _ := strings.Cut(strings.TrimSpace(line), " ")
		at, err := strconv.ParseFloat(from, 64)
		seconds, serr := strconv.ParseInt(add, 10, 64)
		if err := errors.Join(err, serr); err != nil {
			fail(fmt.Errorf("%s: %w", name, err))
		}
		if !t.Before(time.UnixMicro(int64(at * 1e6))) {
			by += time.Duration(seconds) * time.Second
		}
	}
	return t.Add(by)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "clock:", err)
	os.Exit(70)
}

// Store returns a store whose times are comparable with Now.
func Store(s objstore.Store) objstore.Store { return store{s} }

type store struct{ objstore.Store }

func info(i objstore.Info) objstore.Info {
	i.Modified, i.StoreTime = later(i.Modified), later(i.StoreTime)
	return i
}

func failure(err error) error {
	var e *objstore.Error
	if !errors.As(err, &e) || e.StoreTime.IsZero() {
		return err
	}
	c := *e
	c.StoreTime = later(e.StoreTime)
	return &c
}

func (s store) Put(ctx context.Context, key string, body objstore.Body, o objstore.PutOptions) (objstore.Info, error) {
	i, err := s.Store.Put(ctx, key, body, o)
	return info(i), failure(err)
}

func (s store) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	o, err := s.Store.Get(ctx, key, off, n)
	if err != nil {
		return nil, failure(err)
	}
	o.Info = info(o.Info)
	return o, nil
}

func (s store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	i, err := s.Store.Stat(ctx, key)
	return info(i), failure(err)
}

func (s store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for i, err := range s.Store.List(ctx, prefix, startAfter) {
			if !yield(info(i), failure(err)) {
				return
			}
		}
	}
}

func (s store) Noncurrent(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Version, error] {
	return func(yield func(objstore.Version, error) bool) {
		for v, err := range s.Store.Noncurrent(ctx, prefix, startAfter) {
			v.Modified, v.StoreTime = later(v.Modified), later(v.StoreTime)
			if !yield(v, failure(err)) {
				return
			}
		}
	}
}
