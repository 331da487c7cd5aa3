package repository

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// CompleteAside yields the complete copies of backups that were set aside from a path below backups/ after a time, as the store
// shows it for set-aside.json. A copy whose set-aside.json cannot be read shows nothing.
func CompleteAside(ctx context.Context, p Config, path string, after time.Time) iter.Seq2[*Found, error] {
	return func(yield func(*Found, error) bool) {
		for base, err := range asideBases(ctx, p.Store, AsidePrefix+path+"/") {
			var i *asideInfo
			var at objstore.Info
			if err == nil {
				i, at, err = statAsideInfo(ctx, p.Store, base)
				if err != nil && (errors.Is(err, objstore.ErrNotExist) || !IsStoreError(err)) || err == nil && (i.State == asideCopying || !at.Modified.After(after)) {
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

// Cleared reports whether an interrupted SetAside explains the remaining objects of a backup below backups/: its copy is
// complete, and has each of them. backup.json is removed last, so the objects belong to the copy only if both have the same.
func Cleared(ctx context.Context, p Config, path string) (bool, error) {
	info, _, err := ReadSmall(ctx, p.Store, BackupInfoKey(path))
	if errors.Is(err, objstore.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
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
		copied, _, err := ReadSmall(ctx, p.Store, a.key(BackupInfoKey(path)))
		if errors.Is(err, objstore.ErrNotExist) || err == nil && !bytes.Equal(info, copied) {
			continue
		}
		is := false
		if err == nil {
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

// hasAll reports whether the copy has every object that is left. It compares two lists, and the beginning of one commit: another
// log would begin with another one. Holds and uses name nothing, and both may have changed since.
func (a *asideJob) hasAll(ctx context.Context) (bool, error) {
	s, prefix := a.f.Partition.Store, BackupPrefix(a.f.Path)
	next, stop := iter.Pull2(s.List(ctx, a.base+"/", ""))
	defer stop()
	copied, cerr, more := next()
	first := true
	for is, err := range s.List(ctx, prefix, "") {
		if err != nil {
			return false, err
		}
		switch is.Key {
		case LockKey(a.f.Path), UpkeepKey(a.f.Path), HoldsKey(a.f.Path), prefix + UsesName:
			continue
		}
		for more && cerr == nil && copied.Key < a.key(is.Key) {
			copied, cerr, more = next()
		}
		if cerr != nil {
			return false, cerr
		}
		if !more || copied.Key != a.key(is.Key) || copied.Size != is.Size {
			return false, nil
		}
		if first && strings.HasPrefix(is.Key, history.LogPrefix(a.f.Path)) {
			first = false
			if same, err := a.sameHead(ctx, is.Key); err != nil || !same {
				return false, err
			}
		}
	}
	return true, nil
}
