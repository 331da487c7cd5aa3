// Package faultstore makes a store misbehave like networks, proxies, clocks and
// administrators: calls fail, answers are lost, requests arrive twice or late, times are
// wrong, bodies are altered in transit. It is for tests.
package faultstore

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// Fault is one kind of fault for some calls. A zero field means no fault of that kind.
type Fault struct {
	// Match selects the calls; nil = all. op is that of objstore.Error; key is the
	// object's, or the prefix of a list.
	Match func(op, key string) bool
	Skip  int // number of matching calls that succeed first
	Count int // number of faulty calls after that; 0 = all that follow

	Call   func(op, key string)             // called before anything else
	Before func(op, key string) error       // if it returns an error, the call does nothing and fails with it
	After  func(op, key string) error       // the call does its work, but returns this error
	Twice  bool                             // a put arrives twice; the second answer counts
	Late   bool                             // a copy of the put waits until Deliver
	Kept   bool                             // a put waits until Deliver, and its answer is lost
	Shift  time.Duration                    // added to the times in the answer
	Garble func(off int64, b []byte) []byte // changes the bytes of a body read from off
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

// Add activates another fault.
func (s *Store) Add(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &active{Fault: f})
}

// Clear removes all faults. Late copies of puts keep waiting.
func (s *Store) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Struck returns how many times a fault affected a call.
func (s *Store) Struck() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.struck
}

// strike returns the faults of one call.
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

// trouble is the set of faults of one call.
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

// before returns the error of a call that is not made.
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

// answer returns the altered answer of a call.
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

// Stat implements objstore.Store.
func (s *Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	t := s.trouble("stat", key)
	if err := t.before(); err != nil {
		return objstore.Info{}, err
	}
	return t.answer(s.inner.Stat(ctx, key))
}

// Delete implements objstore.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	t := s.trouble("delete", key)
	if err := t.before(); err != nil {
		return err
	}
	_, err := t.answer(objstore.Info{}, s.inner.Delete(ctx, key))
	return err
}

// Get implements objstore.Store. Garble changes the body while it is read.
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

// DeleteVersion implements objstore.Store.
func (s *Store) DeleteVersion(ctx context.Context, v objstore.Version) error {
	t := s.trouble("delete-version", v.Key)
	if err := t.before(); err != nil {
		return err
	}
	_, err := t.answer(objstore.Info{}, s.inner.DeleteVersion(ctx, v))
	return err
}

// Noncurrent implements objstore.Store. A fault affects the whole list.
func (s *Store) Noncurrent(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Version, error] {
	return func(yield func(objstore.Version, error) bool) {
		t := s.trouble("noncurrent", prefix)
		if err := t.before(); err != nil {
			yield(objstore.Version{}, err)
			return
		}
		for v, err := range s.inner.Noncurrent(ctx, prefix, startAfter) {
			info, err := t.answer(objstore.Info{StoreTime: v.StoreTime, Modified: v.Modified}, err)
			if err != nil {
				v = objstore.Version{}
			}
			v.StoreTime, v.Modified = info.StoreTime, info.Modified
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// List implements objstore.Store. A fault affects the whole list.
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
