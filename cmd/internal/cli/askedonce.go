package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// askedOnce is a partition's store that gets no more requests if the first one was not
// answered: each attempt takes seconds, and there may be thousands of backups. A store that
// has answered once gets all requests.
type askedOnce struct {
	objstore.Store
	p repository.Config

	mu       sync.Mutex
	answered bool
	err      error // why the store cannot be used
}

// may returns the error of the first attempt, or nil if the next request may be sent.
func (s *askedOnce) may(op, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answered || s.err == nil {
		return nil
	}
	return &objstore.Error{Op: op, Key: key, Err: s.err}
}

func (s *askedOnce) noted(ctx context.Context, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil, errors.Is(err, objstore.ErrNotExist), errors.Is(err, objstore.ErrExist):
		s.answered, s.err = true, nil
	case s.answered, ctx.Err() != nil:
	default:
		s.err = err
	}
}

// leftOut returns why the partition could not be read.
func (s *askedOnce) leftOut() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return nil
	}
	return repository.UnaskedError{Partition: s.p, Err: s.err}
}

func (s *askedOnce) Put(ctx context.Context, key string, body objstore.Body, o objstore.PutOptions) (objstore.Info, error) {
	if err := s.may("put", key); err != nil {
		return objstore.Info{}, err
	}
	i, err := s.Store.Put(ctx, key, body, o)
	s.noted(ctx, err)
	return i, err
}

func (s *askedOnce) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	if err := s.may("get", key); err != nil {
		return nil, err
	}
	o, err := s.Store.Get(ctx, key, off, n)
	s.noted(ctx, err)
	return o, err
}

func (s *askedOnce) Stat(ctx context.Context, key string) (objstore.Info, error) {
	if err := s.may("stat", key); err != nil {
		return objstore.Info{}, err
	}
	i, err := s.Store.Stat(ctx, key)
	s.noted(ctx, err)
	return i, err
}

func (s *askedOnce) Delete(ctx context.Context, key string) error {
	if err := s.may("delete", key); err != nil {
		return err
	}
	err := s.Store.Delete(ctx, key)
	s.noted(ctx, err)
	return err
}

func (s *askedOnce) DeleteVersion(ctx context.Context, v objstore.Version) error {
	if err := s.may("delete-version", v.Key); err != nil {
		return err
	}
	err := s.Store.DeleteVersion(ctx, v)
	s.noted(ctx, err)
	return err
}

func (s *askedOnce) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return askedList(ctx, s, "list", prefix, after, s.Store.List)
}

func (s *askedOnce) Noncurrent(ctx context.Context, prefix, after string) iter.Seq2[objstore.Version, error] {
	return askedList(ctx, s, "noncurrent", prefix, after, s.Store.Noncurrent)
}

func askedList[T any](ctx context.Context, s *askedOnce, op, prefix, after string,
	under func(ctx context.Context, prefix, after string) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if err := s.may(op, prefix); err != nil {
			var none T
			yield(none, err)
			return
		}
		empty := true
		for item, err := range under(ctx, prefix, after) {
			if empty || err != nil {
				s.noted(ctx, err)
			}
			empty = false
			if !yield(item, err) {
				return
			}
		}
		if empty {
			s.noted(ctx, nil)
		}
	}
}

// LeftOut returns an error for each partition that could not be read.
func (b *Bucket) LeftOut() (out []error) {
	for _, s := range b.asked {
		if err := s.leftOut(); err != nil {
			out = append(out, err)
		}
	}
	return out
}

// Warn reports, once for each partition, that the backup may also be in a partition that
// could not be read.
func (b *Bucket) Warn(w io.Writer, tool string, f *repository.Found) {
	err := f.MayBeOld()
	if err == nil || b.warned[err.Error()] {
		return
	}
	b.warned[err.Error()] = true
	fmt.Fprintf(w, "%s: warning: %v\n", tool, err)
}
