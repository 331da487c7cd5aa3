package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// resumeOrStart resumes an interrupted SetAside, or starts a new one.
func (a *asideJob) resumeOrStart(ctx context.Context, l *Lock) error {
	s := a.f.Partition.Store
	for base, err := range asideBases(ctx, s, AsidePrefix+a.f.Path+"/") {
		if err != nil {
			return err
		}
		i, err := readAsideInfo(ctx, s, base)
		if errors.Is(err, objstore.ErrNotExist) {
			continue // unknown objects
		}
		if err != nil {
			return err
		}
		if i.State == asideDone {
			continue
		}
		a.base, a.info = base, i
		same, err := a.canResume(ctx)
		if err != nil || same {
			return err
		}
		if err := a.putState(ctx, asideDone); err != nil { // only this last step was missing
			return err
		}
	}
	there, err := hasObjects(ctx, s, a.f.Path)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("%s: %w", a.f.Path, ErrNoBackup)
	}
	return a.start(ctx, l)
}

// canResume reports whether the objects below backups/ belong to the interrupted SetAside,
// and not to a backup that was started later.
func (a *asideJob) canResume(ctx context.Context) (bool, error) {
	if a.info.State == asideCopying {
		return true, nil
	}
	s, key := a.f.Partition.Store, BackupInfoKey(a.f.Path)
	old, _, err := ReadSmall(ctx, s, key)
	if errors.Is(err, objstore.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	copied, _, err := ReadSmall(ctx, s, a.key(key))
	if err != nil || !bytes.Equal(old, copied) {
		return false, err
	}
	return a.sameLog(ctx)
}

// sameLog reports whether the remaining commits are those that were copied. If all of them had been
// removed, the announcement of the lock, or a daemon, has put another commit 1. It must not replace
// the copied one.
func (a *asideJob) sameLog(ctx context.Context) (bool, error) {
	s := a.f.Partition.Store
	first := true
	for is, err := range s.List(ctx, history.LogPrefix(a.f.Path), "") {
		if err != nil {
			return false, err
		}
		copied, err := s.Stat(ctx, a.key(is.Key))
		if errors.Is(err, objstore.ErrNotExist) {
			continue // added after the copy was complete
		}
		if err != nil || copied.Size != is.Size {
			return false, err
		}
		if first { // another log would begin with another commit
			if same, err := a.sameHead(ctx, is.Key); err != nil || !same {
				return false, err
			}
		}
		first = false
	}
	return true, nil
}

// sameHead reports whether an object and its copy begin with the same bytes. A commit has its hash,
// time and random number there.
func (a *asideJob) sameHead(ctx context.Context, key string) (bool, error) {
	var heads [2][]byte
	for i, k := range []string{key, a.key(key)} {
		o, err := a.f.Partition.Store.Get(ctx, k, 0, headLength)
		if err != nil {
			return false, err
		}
		heads[i], err = io.ReadAll(o)
		if err = errors.Join(err, o.Close()); err != nil {
			return false, err
		}
	}
	return bytes.Equal(heads[0], heads[1]), nil
}

// headLength is more than the header of a commit needs.
const headLength = 64 << 10

// start writes set-aside.json under the store's time.
func (a *asideJob) start(ctx context.Context, l *Lock) error {
	at, err := l.Now(ctx)
	if err != nil {
		return err
	}
	a.info = &asideInfo{Version: asideVersion, Backup: a.f.Path, Name: a.f.Info.Name, Kind: a.f.Info.Kind,
		Since: at.UTC(), Reason: a.reason, State: asideCopying}
	if n, ok := NameOf(a.owner); ok {
		a.info.Backup, a.info.Name, a.info.Kind = a.owner, n.Full, n.Kind
	}
	for range 10 {
		a.base = asideBase(a.f.Path, a.info.Since)
		err = a.info.put(ctx, a.f.Partition.Store, a.base, objstore.PutOptions{IfAbsent: true})
		if !errors.Is(err, objstore.ErrExist) {
			return err
		}
		ours, rerr := a.hasPut(ctx)
		if ours || rerr != nil {
			return rerr
		}
		a.info.Since = a.info.Since.Add(time.Second)
	}
	return err
}

// hasPut reports whether the set-aside.json that exists already is this one: the request to put it has
// arrived twice. Nobody else begins at the same time, because this job has the lock of the backup.
func (a *asideJob) hasPut(ctx context.Context) (bool, error) {
	there, err := readAsideInfo(ctx, a.f.Partition.Store, a.base)
	if err != nil {
		return false, err
	}
	return *there == *a.info, nil
}

func (a *asideJob) putState(ctx context.Context, state string) error {
	a.info.State = state
	return a.info.put(ctx, a.f.Partition.Store, a.base, objstore.PutOptions{})
}
