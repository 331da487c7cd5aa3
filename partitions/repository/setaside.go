package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// SetAside moves a backup out of the way, so that the next sync starts a new one. It
// copies all objects below set-aside/ and removes the originals once the copy is complete.
// It does not decode the objects, so their damage does not matter. After an interruption
// at any point, calling it again continues. where is the new prefix of the backup.
//
// It returns ErrErasing if bodies of an erased history are left: nothing removes them from a copy.
//
// SetAside holds the lock of the backup. A daemon that has the backup open finds that
// the newest commit is missing, looks for the backup, and finds none.
func (f *Found) SetAside(ctx context.Context, reason string, o LockOptions, report func(Copied)) (where string, done Copied, err error) {
	return f.setAside(ctx, reason, o, report, func(ctx context.Context, f *Found, o LockOptions) (*Upkeep, error) {
		u, err := ExcludeUpkeep(ctx, f, o)
		if err != nil {
			return nil, err
		}
		if err := f.CheckErasures(ctx); err != nil {
			return nil, errors.Join(err, u.End(context.WithoutCancel(ctx)))
		}
		return u, nil
	})
}

// SetAsideToErase is SetAside, but returns ErrOnHold if the backup is on hold.
func (f *Found) SetAsideToErase(ctx context.Context, reason string, o LockOptions) (where string, err error) {
	where, _, err = f.setAside(ctx, reason, o, nil, BeginUpkeep)
	return where, err
}

type beginUpkeep func(context.Context, *Found, LockOptions) (*Upkeep, error)

func (f *Found) setAside(ctx context.Context, reason string, o LockOptions, report func(Copied), begin beginUpkeep) (where string, done Copied, err error) {
	if f.Aside != "" {
		return f.Aside, done, fmt.Errorf("%s: %w", f.Aside, ErrAside)
	}
	a := &asideJob{f: f, reason: reason, report: report}
	o.Mend = true
	there, err := hasObjects(ctx, f.Partition.Store, f.Path)
	if err != nil {
		return "", done, err
	}
	owner, err := f.Owner(ctx)
	if err != nil {
		return "", done, err
	}
	take := f.lockAnyway
	if !there || owner.Foreign() {
		// Either only the last steps remain, or no daemon writes to this log.
		take = f.TakeLease
	}
	if owner.Foreign() {
		a.owner = owner.Other
	}
	u, err := begin(ctx, f, o)
	if err != nil {
		return "", done, err
	}
	l, err := take(ctx, o)
	if err != nil {
		return "", done, errors.Join(err, u.End(context.WithoutCancel(ctx)))
	}
	during, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.Lost(), cancel)()
	defer context.AfterFunc(u.Lost(), cancel)()
	err = a.run(during, l)
	if errors.Is(err, ErrNoBackup) { // leave nothing in its place
		return a.base, a.done, errors.Join(err, u.remove(ctx), l.remove(ctx))
	}
	if err != nil {
		err = errors.Join(err, l.Release(context.WithoutCancel(ctx)), u.End(context.WithoutCancel(ctx)))
		return a.base, a.done, err
	}
	// The lock is removed last: a daemon that waits for it then finds no backup.
	if err := errors.Join(u.remove(ctx), l.remove(ctx)); err != nil {
		return a.base, a.done, err
	}
	return a.base, a.done, a.putState(ctx, asideDone)
}

// lockAnyway is Lock for a backup whose log may be unreadable (see AnnounceAnyway).
func (f *Found) lockAnyway(ctx context.Context, o LockOptions) (*Lock, error) {
	l, err := f.TakeLease(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := l.AnnounceAnyway(ctx); err != nil {
		return nil, errors.Join(err, l.Release(context.WithoutCancel(ctx)))
	}
	return l, nil
}

// asideJob sets one backup aside.
type asideJob struct {
	f      *Found
	reason string
	owner  string // path of the backup that the objects belong to; "": this one
	report func(Copied)
	base   string // target, see asideBase
	info   *asideInfo
	done   Copied
}

func (a *asideJob) run(ctx context.Context, l *Lock) error {
	if err := a.ensureInfo(ctx); err != nil {
		return err
	}
	if err := a.resumeOrStart(ctx, l); err != nil {
		return err
	}
	if a.info.State == asideCopying {
		for key, err := range a.objects(ctx) {
			if err == nil {
				err = a.copy(ctx, key)
			}
			if err != nil {
				return err
			}
		}
		if err := a.putState(ctx, asideWhole); err != nil {
			return err
		}
	}
	return a.clear(ctx)
}

// ensureInfo writes a backup.json if it is missing. backup.json is removed last, so while
// it is unchanged, the remaining objects belong to the backup that is being set aside.
func (a *asideJob) ensureInfo(ctx context.Context) error {
	_, err := a.f.Partition.Store.Stat(ctx, BackupInfoKey(a.f.Path))
	if !errors.Is(err, objstore.ErrNotExist) {
		return err
	}
	there, err := hasObjects(ctx, a.f.Partition.Store, a.f.Path)
	if err != nil || !there {
		return err
	}
	_, err = a.f.PutInfo(ctx, objstore.PutOptions{IfAbsent: true}, time.Time{})
	return err
}

// PutInfo writes a new backup.json, of the version in f.Info at least.
func (f *Found) PutInfo(ctx context.Context, o objstore.PutOptions, created time.Time) (BackupInfo, error) {
	info := BackupInfo{Version: max(Version, f.Info.Version), Name: f.Info.Name, Kind: f.Info.Kind, Created: created.UTC(), ID: NewID()}
	b, err := info.encode()
	if err != nil {
		return info, err
	}
	_, err = f.Partition.Store.Put(ctx, BackupInfoKey(f.Path), bytes.NewReader(b), o)
	return info, err
}

// key returns the key of an object's copy.
func (a *asideJob) key(key string) string {
	return a.base + "/" + strings.TrimPrefix(key, BackupPrefix(a.f.Path))
}

// objects yields the keys of the backup's objects, without its leases.
func (a *asideJob) objects(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for info, err := range a.f.Partition.Store.List(ctx, BackupPrefix(a.f.Path), "") {
			if info.Key == LockKey(a.f.Path) || info.Key == UpkeepKey(a.f.Path) {
				continue
			}
			if !yield(info.Key, err) {
				return
			}
		}
	}
}

// copy copies an object byte for byte.
func (a *asideJob) copy(ctx context.Context, key string) error {
	s := a.f.Partition.Store
	body, _, drop, err := ReadWhole(ctx, s, key)
	if err != nil {
		return err
	}
	defer drop()
	if _, err := s.Put(ctx, a.key(key), body, objstore.PutOptions{}); err != nil {
		return err
	}
	a.done.Objects++
	a.done.Bytes += body.Size()
	if a.report != nil {
		a.report(a.done)
	}
	return nil
}
