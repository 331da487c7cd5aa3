package partitions

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// askedStore is the store of a partition for all users in the daemon. Its errors identify the
// partition. It sends no requests while the partition is given up (outage.go).
type askedStore struct {
	objstore.Store
	p *Partition
}

// watch wraps the store of the partition in an askedStore.
func (p *Partition) watch() {
	s := askedStore{p.store, p}
	p.store = s
	p.storing.recheck = min(recheckMost, p.set.opt.OutageWait/100)
	p.reading.recheck, p.reading.probe = p.storing.recheck, s.ask
}

// storeError is an error of a partition's store, or an error about an object in the partition
// that affects all of its backups.
type storeError struct {
	p   *Partition
	op  string // of objstore.Error; "" if a store did not return the error
	err error
}

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// ofPartition marks err as an error about the whole partition.
func (p *Partition) ofPartition(err error) error {
	if marked := (*storeError)(nil); err == nil || errors.As(err, &marked) {
		return err
	}
	return &storeError{p: p, err: err}
}

// may returns nil if a request may be sent now, and otherwise the error to return.
func (s askedStore) may(ctx context.Context, op, key string) error {
	err := s.p.reading.verdict(ctx)
	if err == nil && op == "put" {
		err = s.p.storing.verdict(ctx)
	}
	if err == nil {
		return nil
	}
	return &storeError{s.p, op, &objstore.Error{Op: op, Key: key, Temporary: ctx.Err() == nil, Err: err}}
}

// noted records the result of a request. It returns the error with the partition.
func (s askedStore) noted(ctx context.Context, op string, err error) error {
	if err != nil && ctx.Err() != nil {
		return &storeError{s.p, op, err} // the caller gave up, which proves nothing about the store
	}
	var failed error
	if unanswered(err) {
		failed = err
	}
	if op == "put" {
		s.p.storing.noted(failed)
	} else {
		s.p.reading.noted(failed)
	}
	if failed == nil {
		s.p.answered.Store(time.Now().UnixNano())
	}
	if err != nil {
		return &storeError{s.p, op, err}
	}
	s.p.set.troubles.worked(s.p.name, classOf(op))
	return nil
}

// ask checks in the background whether the store answers at all, on behalf of everybody who
// waits for it.
func (s askedStore) ask() {
	s.p.set.work.Go(func() {
		defer s.p.reading.endQuestion()
		ctx, stop := context.WithTimeout(s.p.set.life, probeTime)
		defer stop()
		_, err := s.Store.Stat(ctx, repository.Key)
		_ = s.noted(ctx, "stat", err) // noted keeps the result for the next request
	})
}

// classOf distinguishes puts from other requests, because permission to read does not imply
// permission to write.
func classOf(op string) string {
	if op == "put" {
		return "put"
	}
	return "get"
}

func (s askedStore) Put(ctx context.Context, key string, body objstore.Body, o objstore.PutOptions) (objstore.Info, error) {
	if err := s.may(ctx, "put", key); err != nil {
		return objstore.Info{}, err
	}
	i, err := s.Store.Put(ctx, key, body, o)
	return i, s.noted(ctx, "put", err)
}

func (s askedStore) Stat(ctx context.Context, key string) (objstore.Info, error) {
	if err := s.may(ctx, "stat", key); err != nil {
		return objstore.Info{}, err
	}
	i, err := s.Store.Stat(ctx, key)
	return i, s.noted(ctx, "stat", err)
}

func (s askedStore) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	if err := s.may(ctx, "get", key); err != nil {
		return nil, err
	}
	o, err := s.Store.Get(ctx, key, off, n)
	if err = s.noted(ctx, "get", err); err != nil {
		return nil, err
	}
	o.ReadCloser = askedBody{o.ReadCloser, s, ctx}
	return o, nil
}

func (s askedStore) Delete(ctx context.Context, key string) error {
	if err := s.may(ctx, "delete", key); err != nil {
		return err
	}
	return s.noted(ctx, "delete", s.Store.Delete(ctx, key))
}

func (s askedStore) DeleteVersion(ctx context.Context, v objstore.Version) error {
	if err := s.may(ctx, "delete-version", v.Key); err != nil {
		return err
	}
	return s.noted(ctx, "delete-version", s.Store.DeleteVersion(ctx, v))
}

func (s askedStore) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return askedList(ctx, s, "list", prefix, after, s.Store.List)
}

func (s askedStore) Noncurrent(ctx context.Context, prefix, after string) iter.Seq2[objstore.Version, error] {
	return askedList(ctx, s, "noncurrent", prefix, after, s.Store.Noncurrent)
}

func askedList[T any](ctx context.Context, s askedStore, op, prefix, after string,
	under func(ctx context.Context, prefix, after string) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if err := s.may(ctx, op, prefix); err != nil {
			var none T
			yield(none, err)
			return
		}
		first := true
		for item, err := range under(ctx, prefix, after) {
			if err != nil || first {
				err = s.noted(ctx, op, err)
			}
			first = false
			if !yield(item, err) {
				return
			}
		}
	}
}

// askedBody records and marks errors in the middle of a body.
type askedBody struct {
	io.ReadCloser
	s   askedStore
	ctx context.Context // of the Get
}

func (b askedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.s.noted(b.ctx, "get", err)
	}
	return n, err
}
