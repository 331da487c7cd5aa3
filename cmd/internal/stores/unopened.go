package stores

import (
	"context"
	"iter"

	"github.com/cyrusbackup/backupd/objstore"
)

// unopened replaces a store that could not be opened.
type unopened struct{ err error }

func (s unopened) fail(op, key string) error {
	return &objstore.Error{Op: op, Key: key, Err: s.err}
}

func (s unopened) Put(_ context.Context, key string, _ objstore.Body, _ objstore.PutOptions) (objstore.Info, error) {
	return objstore.Info{}, s.fail("put", key)
}

func (s unopened) Get(_ context.Context, key string, _, _ int64) (*objstore.Object, error) {
	return nil, s.fail("get", key)
}

func (s unopened) Stat(_ context.Context, key string) (objstore.Info, error) {
	return objstore.Info{}, s.fail("stat", key)
}

func (s unopened) List(_ context.Context, prefix, _ string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) { yield(objstore.Info{}, s.fail("list", prefix)) }
}

func (s unopened) Delete(_ context.Context, key string) error { return s.fail("delete", key) }

func (s unopened) Noncurrent(_ context.Context, prefix, _ string) iter.Seq2[objstore.Version, error] {
	return func(yield func(objstore.Version, error) bool) {
		yield(objstore.Version{}, s.fail("noncurrent", prefix))
	}
}

func (s unopened) DeleteVersion(_ context.Context, v objstore.Version) error {
	return s.fail("delete-version", v.Key)
}
