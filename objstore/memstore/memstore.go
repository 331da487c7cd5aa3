// Package memstore is an in-memory objstore.Store for tests, with a settable clock and a
// hook that makes calls fail before or after they take effect.
package memstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// Fault decides whether a call fails. op is that of objstore.Error; key is the object's, or
// the prefix of a list. With a nil error the call continues. An error that is not an
// *objstore.Error becomes a temporary one.
type Fault func(op, key string) error

// Store keeps objects in a map. Use New.
type Store struct {
	mu      sync.Mutex
	objects map[string]object
	version int
	// noncurrent has the versions of a versioned store by key, newest first; otherwise nil.
	noncurrent map[string][]version
	clock      func() time.Time
	before     Fault
	after      Fault
}

type object struct {
	data    []byte
	info    objstore.Info
	version int
	// retained is the end of a retention (version.go).
	retained time.Time
	held     bool // has a legal hold
}

var _ objstore.Store = (*Store)(nil)

// New returns an empty store. A nil clock is time.Now.
func New(clock func() time.Time) *Store {
	if clock == nil {
		clock = time.Now
	}
	return &Store{objects: make(map[string]object), clock: clock}
}

// SetFaults replaces both hooks; nil disables a hook. before fails a call without any
// effect. after fails a call after it took effect: its answer is lost.
func (s *Store) SetFaults(before, after Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = before, after
}

// do runs one call between the two hooks. The hooks run without the lock, so they may use
// the store.
func (s *Store) do(ctx context.Context, op, key string, work func(now time.Time) error) error {
	s.mu.Lock()
	before, after, now := s.before, s.after, s.clock()
	s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return &objstore.Error{Op: op, Key: key, Err: err}
	}
	if err := fault(before, op, key); err != nil {
		return err
	}
	s.mu.Lock()
	err := work(now)
	s.mu.Unlock()
	if lost := fault(after, op, key); lost != nil {
		return lost
	}
	if err != nil {
		return &objstore.Error{Op: op, Key: key, StoreTime: now, Err: err}
	}
	return nil
}

func fault(f Fault, op, key string) error {
	if f == nil {
		return nil
	}
	err := f(op, key)
	if err == nil {
		return nil
	}
	if e := (*objstore.Error)(nil); errors.As(err, &e) {
		return err
	}
	return &objstore.Error{Op: op, Key: key, Temporary: true, Err: err}
}

// Put stores a copy of the body.
func (s *Store) Put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) (info objstore.Info, err error) {
	err = s.do(ctx, "put", key, func(now time.Time) error {
		if err := objstore.CheckKey(key); err != nil {
			return err
		}
		data := make([]byte, body.Size())
		if _, err := io.ReadFull(io.NewSectionReader(body, 0, body.Size()), data); err != nil {
			return fmt.Errorf("body: %w", err)
		}
		old, found := s.objects[key]
		switch {
		case opt.IfAbsent && found:
			return objstore.ErrExist
		case opt.IfMatch != "" && (!found || old.info.ETag != opt.IfMatch):
			return objstore.ErrPrecondition
		}
		s.retire(key, false, now)
		o := s.stamped(object{data: data, info: objstore.Info{Key: key, Size: body.Size(), Modified: now, StoreTime: now}})
		info, s.objects[key] = o.info, o
		return nil
	})
	if err != nil {
		return objstore.Info{}, err
	}
	return info, nil
}

// Get reads from the bytes that the key had when it was called.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (obj *objstore.Object, err error) {
	err = s.do(ctx, "get", key, func(now time.Time) error {
		o, err := s.lookup(key)
		if err != nil {
			return err
		}
		start, length, err := objstore.Span(off, n, o.info.Size)
		if err != nil {
			return err
		}
		o.info.StoreTime = now
		obj = &objstore.Object{Info: o.info, ReadCloser: &reader{ctx: ctx, key: key, r: bytes.NewReader(o.data[start : start+length])}}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return obj, nil
}

// Stat describes the object.
func (s *Store) Stat(ctx context.Context, key string) (info objstore.Info, err error) {
	err = s.do(ctx, "stat", key, func(now time.Time) error {
		o, err := s.lookup(key)
		info = o.info
		info.StoreTime = now
		return err
	})
	if err != nil {
		return objstore.Info{}, err
	}
	return info, nil
}

// Delete removes the object.
func (s *Store) Delete(ctx context.Context, key string) error {
	return s.do(ctx, "delete", key, func(now time.Time) error {
		if err := objstore.CheckKey(key); err != nil {
			return err
		}
		s.retire(key, true, now)
		delete(s.objects, key)
		return nil
	})
}

// List yields a snapshot of the infos, taken when the iteration begins.
func (s *Store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		var infos []objstore.Info
		err := s.do(ctx, "list", prefix, func(now time.Time) error {
			for key, o := range s.objects {
				if strings.HasPrefix(key, prefix) && key > startAfter {
					o.info.StoreTime = now
					infos = append(infos, o.info)
				}
			}
			return nil
		})
		if err != nil {
			yield(objstore.Info{}, err)
			return
		}
		sort.Slice(infos, func(i, j int) bool { return infos[i].Key < infos[j].Key })
		for _, info := range infos {
			if err := ctx.Err(); err != nil {
				yield(objstore.Info{}, &objstore.Error{Op: "list", Key: prefix, Err: err})
				return
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

// stamped gives the object a new ETag. The ETags of different contents differ also between two stores.
func (s *Store) stamped(o object) object {
	s.version++
	o.version, o.info.ETag = s.version, fmt.Sprintf("v%d-%08x", s.version, crc32.ChecksumIEEE(o.data))
	return o
}

func (s *Store) lookup(key string) (object, error) {
	if err := objstore.CheckKey(key); err != nil {
		return object{}, err
	}
	o, ok := s.objects[key]
	if !ok {
		return object{}, objstore.ErrNotExist
	}
	return o, nil
}

type reader struct {
	ctx context.Context // of the Get: a body ends with the call that opened it
	key string
	r   *bytes.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, &objstore.Error{Op: "get", Key: r.key, Err: err}
	}
	return r.r.Read(p)
}

func (r *reader) Close() error { return nil }
