// Package prefixed puts the keys of a store under a prefix, so that one bucket can hold
// many partitions without support in the drivers.
package prefixed

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
)

type store struct {
	under objstore.Store
	at    string // ends with a slash
}

// New returns a view of the objects of s below prefix/, with keys relative to it. The
// prefix has no slash at its ends; "" returns s itself.
func New(s objstore.Store, prefix string) objstore.Store {
	if prefix == "" {
		return s
	}
	return &store{under: s, at: prefix + "/"}
}

func (s *store) Put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) (objstore.Info, error) {
	info, err := s.under.Put(ctx, s.at+key, body, opt)
	return s.info(info), s.err(err)
}

func (s *store) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	obj, err := s.under.Get(ctx, s.at+key, off, n)
	if err != nil {
		return nil, s.err(err)
	}
	obj.Info = s.info(obj.Info)
	obj.ReadCloser = &body{obj.ReadCloser, s}
	return obj, nil
}

func (s *store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	info, err := s.under.Stat(ctx, s.at+key)
	return s.info(info), s.err(err)
}

func (s *store) Delete(ctx context.Context, key string) error {
	return s.err(s.under.Delete(ctx, s.at+key))
}

func (s *store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	if startAfter != "" {
		startAfter = s.at + startAfter
	}
	return func(yield func(objstore.Info, error) bool) {
		for info, err := range s.under.List(ctx, s.at+prefix, startAfter) {
			if !yield(s.info(info), s.err(err)) {
				return
			}
		}
	}
}

func (s *store) Noncurrent(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Version, error] {
	if startAfter != "" {
		startAfter = s.at + startAfter
	}
	return func(yield func(objstore.Version, error) bool) {
		for v, err := range s.under.Noncurrent(ctx, s.at+prefix, startAfter) {
			v.Key = strings.TrimPrefix(v.Key, s.at)
			if !yield(v, s.err(err)) {
				return
			}
		}
	}
}

func (s *store) DeleteVersion(ctx context.Context, v objstore.Version) error {
	v.Key = s.at + v.Key
	return s.err(s.under.DeleteVersion(ctx, v))
}

func (s *store) info(i objstore.Info) objstore.Info {
	i.Key = strings.TrimPrefix(i.Key, s.at)
	return i
}

// err replaces the key in the error by the caller's key, because the full key names a place
// outside this view.
func (s *store) err(err error) error {
	var e *objstore.Error
	if !errors.As(err, &e) {
		return err
	}
	relative := *e
	relative.Key = strings.TrimPrefix(e.Key, s.at)
	return &relative
}

type body struct {
	io.ReadCloser
	s *store
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = b.s.err(err)
	}
	return n, err
}
