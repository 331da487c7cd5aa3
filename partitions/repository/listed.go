package repository

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// listingAge is how long a listing may be used. A reader that comes later lists the backup again,
// because a daemon may have moved or removed objects since then.
const listingAge = 30 * time.Second

// Listed returns the backup as Browse has just listed it, for reading only: its store answers
// lists of the backup's objects, and requests for missing ones, without asking. It returns f if
// the listing was too long to keep, or is too old.
func (f *Found) Listed() *Found {
	if f.listed == nil || f.listed.rest || time.Since(f.listed.at) > listingAge {
		return f
	}
	g := *f
	g.Partition.Store = &listedStore{Store: f.Partition.Store, prefix: BackupPrefix(f.Path), keys: f.listed.keys}
	return &g
}

// ReadInfo reads backup.json, unless the backup is Listed: then it has just been read.
func (f *Found) ReadInfo(ctx context.Context) (*BackupInfo, error) {
	if _, listed := f.Partition.Store.(*listedStore); listed {
		return &f.Info, nil
	}
	return ReadBackupInfo(ctx, f.Partition.Store, f.Path)
}

// ListedBytes returns the bytes of the backup's objects as Browse has listed them, without packs.
// ok is false if they are unknown: the backup was not browsed, or it has many objects.
func (f *Found) ListedBytes() (n int64, ok bool) {
	if f.listed == nil || f.listed.rest {
		return 0, false
	}
	for _, i := range f.listed.keys {
		n += i.Size
	}
	return n, true
}

// ListedHolds reports whether the backup had a holds.json when Browse listed it. It returns true
// if that is unknown.
func (f *Found) ListedHolds() bool {
	if f.listed == nil || f.listed.rest {
		return true
	}
	_, there := (&listedStore{keys: f.listed.keys}).find(HoldsKey(f.Path))
	return there
}

// ListedObject returns an object of a backup that is Listed.
func (f *Found) ListedObject(key string) (objstore.Info, bool) {
	s, ok := f.Partition.Store.(*listedStore)
	if !ok {
		return objstore.Info{}, false
	}
	i, ok := s.find(key)
	if !ok {
		return objstore.Info{}, false
	}
	return s.keys[i], true
}

// listedStore answers from a listing of all keys with a prefix. It asks the store again once it
// has proof that the listing is out of date.
type listedStore struct {
	objstore.Store
	prefix string
	keys   []objstore.Info
	stale  atomic.Bool
	last   atomic.Pointer[beginning] // of the object that was read last
}

// find returns where the key is in the listing, or belongs.
func (s *listedStore) find(key string) (at int, there bool) {
	return slices.BinarySearchFunc(s.keys, key, func(i objstore.Info, key string) int { return strings.Compare(i.Key, key) })
}

// lacks reports whether the listing shows that the key does not exist.
func (s *listedStore) lacks(key string) bool {
	if !strings.HasPrefix(key, s.prefix) || s.stale.Load() {
		return false
	}
	_, there := s.find(key)
	return !there
}

func (s *listedStore) Stat(ctx context.Context, key string) (objstore.Info, error) {
	if s.lacks(key) {
		return objstore.Info{}, &objstore.Error{Op: "stat", Key: key, Err: objstore.ErrNotExist}
	}
	i, err := s.Store.Stat(ctx, key)
	s.note(key, err)
	return i, err
}

// note discards the listing if a listed object is gone.
func (s *listedStore) note(key string, err error) {
	if errors.Is(err, objstore.ErrNotExist) && strings.HasPrefix(key, s.prefix) {
		s.stale.Store(true)
	}
}

func (s *listedStore) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	if !strings.HasPrefix(prefix, s.prefix) || s.stale.Load() {
		return s.Store.List(ctx, prefix, after)
	}
	return func(yield func(objstore.Info, error) bool) {
		from, _ := s.find(max(prefix, after))
		for _, i := range s.keys[from:] {
			if !strings.HasPrefix(i.Key, prefix) || i.Key > after && !yield(i, nil) {
				return
			}
		}
	}
}

func (s *listedStore) Put(ctx context.Context, key string, body objstore.Body, o objstore.PutOptions) (objstore.Info, error) {
	s.stale.Store(true)
	return s.Store.Put(ctx, key, body, o)
}

func (s *listedStore) Delete(ctx context.Context, key string) error {
	s.stale.Store(true)
	return s.Store.Delete(ctx, key)
}
