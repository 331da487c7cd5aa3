package repository

import (
	"context"
	"errors"
	"iter"

	"github.com/cyrusbackup/backupd/objstore"
)

// CompleteAside yields the complete copies of backups that were set aside from a path below backups/. A copy whose set-aside.json
// cannot be read shows nothing.
func CompleteAside(ctx context.Context, p Config, path string) iter.Seq2[*Found, error] {
	return func(yield func(*Found, error) bool) {
		for base, err := range asideBases(ctx, p.Store, AsidePrefix+path+"/") {
			var i *asideInfo
			if err == nil {
				i, err = readAsideInfo(ctx, p.Store, base)
				if err != nil && (errors.Is(err, objstore.ErrNotExist) || !IsStoreError(err)) || err == nil && i.State == asideCopying {
					continue
				}
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(i.found(p, base), nil) {
				return
			}
		}
	}
}

// Cleared reports whether an interrupted SetAside explains the remaining objects of a backup below backups/:
// its copy is complete, and has each of them.
func Cleared(ctx context.Context, p Config, path string) (bool, error) {
	for base, err := range asideBases(ctx, p.Store, AsidePrefix+path+"/") {
		if err != nil {
			return false, err
		}
		i, err := readAsideInfo(ctx, p.Store, base)
		if errors.Is(err, objstore.ErrNotExist) || err == nil && i.State != asideWhole {
			continue
		}
		if err != nil {
			return false, err
		}
		a := &asideJob{f: &Found{Partition: p, Path: path}, base: base, info: i}
		is, err := a.canResume(ctx)
		if err == nil && is {
			is, err = a.hasAll(ctx)
		}
		if err != nil || is {
			return is, err
		}
	}
	return false, nil
}

// UsesName is the last element of the key of a backup's uses (package collection).
const UsesName = "uses.ndjson.zst"

// hasAll reports whether the copy has every object that is left. Holds and uses name nothing, and both may have changed since.
func (a *asideJob) hasAll(ctx context.Context) (bool, error) {
	s := a.f.Partition.Store
	for key, err := range a.objects(ctx) {
		if err != nil {
			return false, err
		}
		if key == HoldsKey(a.f.Path) || key == BackupPrefix(a.f.Path)+UsesName {
			continue
		}
		is, err := s.Stat(ctx, key)
		if errors.Is(err, objstore.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		copied, err := s.Stat(ctx, a.key(key))
		if errors.Is(err, objstore.ErrNotExist) || err == nil && copied.Size != is.Size {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}
