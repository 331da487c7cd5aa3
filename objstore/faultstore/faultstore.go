// Package faultstore lets a store misbehave as networks, proxies, clocks and
// administrators do: calls that fail, answers that are lost, requests that arrive twice
// or late, times that are wrong, bodies that are garbled on the way. It is for tests.
package faultstore

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// Fault is one kind of trouble, for some calls. The zero value of each field is none of it.
type Fault struct {
	// Match says which calls it is for; nil = all. op is put, get, stat, list or delete; key
	// is the object's, or list's prefix.
	Match func(op, key string) bool
	Skip  int // so many of these calls go well first
	Count int // so many are struck then; 0 = all that follow

	Call   func(op, key string)             // is called before anything else
	Before func(op, key string) error       // the call does nothing and fails with it, unless it is nil
	After  func(op, key string) error       // the call does its work, and the answer is this instead
	Twice  bool                             // a put arrives twice; the second answer counts
	Late   bool                             // a copy of the put waits until Deliver
	Shift  time.Duration                    // is added to the times in the answer
	Garble func(off int64, b []byte) []byte // changes the bytes of a body that is read from off
}

// Store is a store with faults. Use New.
type Store struct {
	inner objstore.Store

	mu     sync.Mutex
	faults []*active
	late   []latePut
	struck int
}

type active struct {
	Fault
	seen int
}

var _ objstore.Store = (*Store)(nil)

// New returns the store without faults.
func New(inner objstore.Store) *Store { return &Store{inner: inner} }

// Add makes one more fault take effect.
func (s *Store) Add(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &active{Fault: f})
}

// Clear ends all faults. Late copies of puts still wait.
func (s *Store) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Struck is how many times a fault struck a call.
func (s *Store) Struck() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.struck
}

// strike is what befalls one call.
func (s *Store) strike(op, key string) (hit []Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if f.Match != nil && !f.Match(op, key) {
			continue
		}
		f.seen++
		if f.seen > f.Skip && (f.Count == 0 || f.seen <= f.Skip+f.Count) {
			hit = append(hit, f.Fault)
			s.struck++
		}
	}
	return hit
}

// trouble is all that befalls one call.
type trouble struct {
	op, key string
	hit     []Fault
}

func (s *Store) trouble(op, key string) *trouble {
	t := &trouble{op, key, s.strike(op, key)}
	for _, f := range t.hit {
		if f.Call != nil {
			f.Call(op, key)
		}
	}
	return t
}

// before is the error of a call that is not made.
func (t *trouble) before() error {
	for _, f := range t.hit {
		if f.Before != nil {
			if err := f.Before(t.op, t.key); err != nil {
				return asError(t.op, t.key, err)
			}
		}
	}
	return nil
}

// answer is what comes of a call that was made.
func (t *trouble) answer(info objstore.Info, err error) (objstore.Info, error) {
	for _, f := range t.hit {
		if f.After != nil {
			if lost := f.After(t.op, t.key); lost != nil {
				return objstore.Info{}, asError(t.op, t.key, lost)
			}
		}
	}
	for _, f := range t.hit {
		info, err = shifted(info, f.Shift), shiftedError(err, f.Shift)
	}
	return info, err
}

// Stat asks the store.
func (s *Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	t := s.trouble("stat", key)
	if err := t.before(); err != nil {
		return objstore.Info{}, err
	}
	return t.answer(s.inner.Stat(ctx, key))
}

// Delete asks the store.
func (s *Store) Delete(ctx context.Context, key string) error {
	t := s.trouble("delete", key)
	if err := t.before(); err != nil {
		return err
	}
	_, err := t.answer(objstore.Info{}, s.inner.Delete(ctx, key))
	return err
}

// Get asks the store. Garble changes the body as it is read.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	t := s.trouble("get", key)
	if err := t.before(); err != nil {
		return nil, err
	}
	obj, err := s.inner.Get(ctx, key, off, n)
	if err != nil {
		_, err = t.answer(objstore.Info{}, err)
		return nil, err
	}
	info, err := t.answer(obj.Info, nil)
	if err != nil {
		_ = obj.Close()
		return nil, err
	}
	obj.Info = info
	for _, f := range t.hit {
		if f.Garble != nil {
			if obj, err = garbled(obj, off, f.Garble); err != nil {
				return nil, err
			}
		}
	}
	return obj, nil
}

// List asks the store. A fault strikes the whole list.
func (s *Store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		t := s.trouble("list", prefix)
		if err := t.before(); err != nil {
			yield(objstore.Info{}, err)
			return
		}
		for info, err := range s.inner.List(ctx, prefix, startAfter) {
			info, err = t.answer(info, err)
			if !yield(info, err) || err != nil {
				return
			}
		}
	}
}
