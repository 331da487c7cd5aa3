// Package overlay makes changes to a store without modifying it: the changes go to another
// store. It is for dry runs.
package overlay

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/cyrusbackup/backupd/objstore"
)

// New returns a store that shows the objects of below with the changes made through it.
// Puts go to above, which is initially empty and belongs to the overlay. Changes that
// others make below stay visible.
func New(below, above objstore.Store) objstore.Store {
	return &store{below: below, above: above, gone: map[string]bool{}, goneVersions: map[versionID]bool{}}
}

type store struct {
	below, above objstore.Store

	mu   sync.Mutex // held during a change
	gone map[string]bool
	// goneVersions has the noncurrent versions that were removed.
	goneVersions map[versionID]bool
}

type versionID struct{ key, id string }

func (s *store) isGone(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone[key]
}

// Put implements objstore.Store.
func (s *store) Put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) (objstore.Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if opt.Conditional() {
		is, err := s.stat(ctx, key, s.gone[key])
		absent := errors.Is(err, objstore.ErrNotExist)
		switch {
		case err != nil && !absent:
			return objstore.Info{}, err
		case opt.IfAbsent && !absent:
			return objstore.Info{}, &objstore.Error{Op: "put", Key: key, StoreTime: is.StoreTime, Err: objstore.ErrExist}
		case opt.IfMatch != "" && (absent || is.ETag != opt.IfMatch):
			return objstore.Info{}, &objstore.Error{Op: "put", Key: key, StoreTime: is.StoreTime, Err: objstore.ErrPrecondition}
		}
	}
	i, err := s.above.Put(ctx, key, body, objstore.PutOptions{})
	if err == nil {
		delete(s.gone, key)
	}
	return tagged(i), err
}

// tagged makes an ETag that the store below never returns.
func tagged(i objstore.Info) objstore.Info {
	if i.ETag != "" {
		i.ETag = "overlay-" + i.ETag
	}
	return i
}

// Get implements objstore.Store.
func (s *store) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	o, err := s.above.Get(ctx, key, off, n)
	switch {
	case err == nil:
		o.Info = tagged(o.Info)
		return o, nil
	case !errors.Is(err, objstore.ErrNotExist):
		return nil, err
	case s.isGone(key):
		return nil, err
	}
	return s.below.Get(ctx, key, off, n)
}

// Stat implements objstore.Store.
func (s *store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	return s.stat(ctx, key, s.isGone(key))
}

func (s *store) stat(ctx context.Context, key string, gone bool) (objstore.Info, error) {
	i, err := s.above.Stat(ctx, key)
	if err == nil || gone || !errors.Is(err, objstore.ErrNotExist) {
		return tagged(i), err
	}
	return s.below.Stat(ctx, key)
}

// Delete implements objstore.Store.
func (s *store) Delete(ctx context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.above.Delete(ctx, key); err != nil {
		return err
	}
	s.gone[key] = true
	return nil
}

// List implements objstore.Store: it merges both lists.
func (s *store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		next, stop := iter.Pull2(s.above.List(ctx, prefix, startAfter))
		defer stop()
		top, err, more := next()
		for low, lerr := range s.below.List(ctx, prefix, startAfter) {
			for err == nil && lerr == nil && more && top.Key < low.Key {
				if !yield(tagged(top), nil) {
					return
				}
				top, err, more = next()
			}
			if err = errors.Join(err, lerr); err != nil {
				yield(objstore.Info{}, err)
				return
			}
			if more && top.Key == low.Key || s.isGone(low.Key) {
				continue
			}
			if !yield(low, nil) {
				return
			}
		}
		for ; more || err != nil; top, err, more = next() {
			if !yield(tagged(top), err) || err != nil {
				return
			}
		}
	}
}

// Noncurrent implements objstore.Store. It yields the versions below that were not removed, and
// not those that changes through the overlay would leave.
func (s *store) Noncurrent(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Version, error] {
	return func(yield func(objstore.Version, error) bool) {
		for v, err := range s.below.Noncurrent(ctx, prefix, startAfter) {
			if err == nil && s.isGoneVersion(v) {
				continue
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

func (s *store) isGoneVersion(v objstore.Version) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.goneVersions[versionID{v.Key, v.ID}]
}

// DeleteVersion implements objstore.Store.
func (s *store) DeleteVersion(_ context.Context, v objstore.Version) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.goneVersions[versionID{v.Key, v.ID}] = true
	return nil
}
