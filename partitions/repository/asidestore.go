package repository

import (
	"context"
	"errors"
	"iter"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
)

// asideStore is a store that shows the objects of a backup under the keys that they had before
// the backup was set aside. Of its objects only the holds can be changed.
type asideStore struct {
	objstore.Store
	old, now string // prefixes of keys
}

func (s asideStore) key(k string) string {
	if rest, ok := strings.CutPrefix(k, s.old); ok {
		return s.now + rest
	}
	return k
}

func (s asideStore) oldKey(i objstore.Info) objstore.Info {
	if rest, ok := strings.CutPrefix(i.Key, s.now); ok {
		i.Key = s.old + rest
	}
	return i
}

// ErrAside reports an attempt to change a backup that was set aside.
var ErrAside = errors.New("the backup was set aside and is read-only")

// Put implements objstore.Store, only for holds.json.
func (s asideStore) Put(ctx context.Context, key string, body objstore.Body, o objstore.PutOptions) (objstore.Info, error) {
	if key == s.old+holdsName {
		i, err := s.Store.Put(ctx, s.key(key), body, o)
		return s.oldKey(i), err
	}
	return objstore.Info{}, &objstore.Error{Op: "put", Key: s.key(key), Err: ErrAside}
}

// Delete implements objstore.Store and always fails.
func (s asideStore) Delete(_ context.Context, key string) error {
	return &objstore.Error{Op: "delete", Key: s.key(key), Err: ErrAside}
}

// Get implements objstore.Store.
func (s asideStore) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	o, err := s.Store.Get(ctx, s.key(key), off, n)
	if o != nil {
		o.Info = s.oldKey(o.Info)
	}
	return o, err
}

// Stat implements objstore.Store.
func (s asideStore) Stat(ctx context.Context, key string) (objstore.Info, error) {
	i, err := s.Store.Stat(ctx, s.key(key))
	return s.oldKey(i), err
}

// List implements objstore.Store.
func (s asideStore) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for i, err := range s.Store.List(ctx, s.key(prefix), s.key(startAfter)) {
			if !yield(s.oldKey(i), err) {
				return
			}
		}
	}
}

// Noncurrent implements objstore.Store.
func (s asideStore) Noncurrent(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Version, error] {
	return func(yield func(objstore.Version, error) bool) {
		for v, err := range s.Store.Noncurrent(ctx, s.key(prefix), s.key(startAfter)) {
			if rest, ok := strings.CutPrefix(v.Key, s.now); ok {
				v.Key = s.old + rest
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

// DeleteVersion implements objstore.Store and always fails.
func (s asideStore) DeleteVersion(_ context.Context, v objstore.Version) error {
	return &objstore.Error{Op: "delete-version", Key: s.key(v.Key), Err: ErrAside}
}
