package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// SetAside takes a backup out of its place, so that the next sync begins another one. All
// its objects are copied below set-aside/, and removed from their place once the copy is
// whole: the store is asked for nothing but plain objects, so it does not matter how
// damaged they are. Cut off at any point it goes on when it is called again. where is the
// key below which the backup lies now.
//
// Writers are kept off with a lock meanwhile. A daemon that has the backup open finds its
// newest commit gone, looks for the backup, and finds none.
func (f *Found) SetAside(ctx context.Context, reason string, o LockOptions, report func(Copied)) (where string, done Copied, err error) {
	if f.Aside != "" {
		return f.Aside, done, fmt.Errorf("%s: %w", f.Aside, ErrAside)
	}
	a := &asider{f: f, reason: reason, report: report}
	o.Mend = true
	there, err := hasObjects(ctx, f.Partition.Store, f.Path)
	if err != nil {
		return "", done, err
	}
	whose, err := f.Owner(ctx)
	if err != nil {
		return "", done, err
	}
	take := f.lockAnyway
	if !there || whose.Foreign() {
		// All but the end was done, or the log is one that no daemon writes to here.
		take = f.TakeLease
	}
	if whose.Foreign() {
		a.of = whose.Other
	}
	l, err := take(ctx, o)
	if err != nil {
		return "", done, err
	}
	during, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.Lost(), cancel)()
	err = a.run(during, l)
	if err != nil {
		err = errors.Join(err, l.Release(context.WithoutCancel(ctx)))
		return a.base, a.done, err
	}
	// The lock goes last, with its file: a daemon that waits for its end finds no backup.
	if err := l.remove(ctx); err != nil {
		return a.base, a.done, err
	}
	return a.base, a.done, a.state(ctx, asideDone)
}

// lockAnyway is Lock for a backup whose log may be of no use: the lock is announced under
// the number after all that there are.
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

// asider sets one backup aside.
type asider struct {
	f      *Found
	reason string
	of     string // the backup that the objects are of; "" = this one
	report func(Copied)
	base   string // where it goes
	info   *asideInfo
	done   Copied
}

func (a *asider) run(ctx context.Context, l *Lock) error {
	if err := a.ownInfo(ctx); err != nil {
		return err
	}
	if err := a.begin(ctx, l); err != nil {
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
		if err := a.state(ctx, asideWhole); err != nil {
			return err
		}
	}
	return a.clear(ctx)
}

// ownInfo makes a backup.json where there is none: it is removed last, and so says that
// what lies here is still the backup that is set aside.
func (a *asider) ownInfo(ctx context.Context) error {
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

// PutInfo puts another backup.json.
func (f *Found) PutInfo(ctx context.Context, o objstore.PutOptions, created time.Time) (BackupInfo, error) {
	info := BackupInfo{Version: Version, Name: f.Info.Name, Kind: f.Info.Kind, Created: created.UTC(), ID: NewID()}
	b, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return info, err
	}
	_, err = f.Partition.Store.Put(ctx, BackupInfoKey(f.Path), bytes.NewReader(append(b, '\n')), o)
	return info, err
}

// key is that of the copy of an object.
func (a *asider) key(key string) string {
	return a.base + "/" + strings.TrimPrefix(key, BackupPrefix(a.f.Path))
}

// objects yields the keys of the backup, all but that of its lock.
func (a *asider) objects(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for info, err := range a.f.Partition.Store.List(ctx, BackupPrefix(a.f.Path), "") {
			if info.Key == LockKey(a.f.Path) {
				continue
			}
			if !yield(info.Key, err) {
				return
			}
		}
	}
}

// copy copies an object as it is.
func (a *asider) copy(ctx context.Context, key string) error {
	s := a.f.Partition.Store
	body, _, drop, err := Hold(ctx, s, key)
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
