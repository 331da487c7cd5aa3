package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
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

// begin goes on with what was cut off, or begins.
func (a *asider) begin(ctx context.Context, l *Lock) error {
	s := a.f.Partition.Store
	for base, err := range asideBases(ctx, s, AsidePrefix+a.f.Path+"/") {
		if err != nil {
			return err
		}
		i, _, err := readAsideInfo(ctx, s, base)
		if errors.Is(err, objstore.ErrNotExist) {
			continue // somebody else's
		}
		if err != nil {
			return err
		}
		if i.State == asideDone {
			continue
		}
		a.base, a.info = base, i
		same, err := a.goesOn(ctx)
		if err != nil || same {
			return err
		}
		if err := a.state(ctx, asideDone); err != nil { // all but its last step was done
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
	return a.fresh(ctx, l)
}

// goesOn says whether what lies in the backup's place is what was being set aside, and
// not a backup that was begun after it.
func (a *asider) goesOn(ctx context.Context) (bool, error) {
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
	return err == nil && bytes.Equal(old, copied), err
}

// fresh begins to set aside, under the store's time.
func (a *asider) fresh(ctx context.Context, l *Lock) error {
	at, err := l.Now(ctx)
	if err != nil {
		return err
	}
	a.info = &asideInfo{Version: asideVersion, Backup: a.f.Path, Name: a.f.Info.Name, Kind: a.f.Info.Kind,
		Since: at.UTC(), Reason: a.reason, State: asideCopying}
	if n, ok := NameOf(a.of); ok {
		a.info.Backup, a.info.Name, a.info.Kind = a.of, n.Full, n.Kind
	}
	for range 10 {
		a.base = asideBase(a.f.Path, a.info.Since)
		err = a.info.put(ctx, a.f.Partition.Store, a.base, objstore.PutOptions{IfAbsent: true})
		if !errors.Is(err, objstore.ErrExist) {
			return err
		}
		a.info.Since = a.info.Since.Add(time.Second)
	}
	return err
}

func (a *asider) state(ctx context.Context, state string) error {
	a.info.State = state
	return a.info.put(ctx, a.f.Partition.Store, a.base, objstore.PutOptions{})
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

// clear removes what was copied from its place: the log in ascending order, and at last
// backup.json, which says whose the rest is.
func (a *asider) clear(ctx context.Context) error {
	for {
		left, err := a.left(ctx)
		if err != nil || len(left) == 0 {
			return err
		}
		for _, key := range left {
			if err := a.remove(ctx, key); err != nil {
				return err
			}
		}
	}
}

// clearedAtOnce bounds the keys that are held.
const clearedAtOnce = 10_000

// left are the next keys to be removed, in their order.
func (a *asider) left(ctx context.Context) (keys []string, err error) {
	last := BackupInfoKey(a.f.Path)
	found := false
	for _, prefix := range []string{history.CheckpointPrefix(a.f.Path), history.RecordsPrefix(a.f.Path), history.LogPrefix(a.f.Path), BackupPrefix(a.f.Path)} {
		for info, err := range a.f.Partition.Store.List(ctx, prefix, "") {
			if err != nil {
				return nil, err
			}
			switch info.Key {
			case last:
				found = true
				continue
			case LockKey(a.f.Path):
				continue
			}
			if keys = append(keys, info.Key); len(keys) == clearedAtOnce {
				return keys, nil
			}
		}
		if len(keys) > 0 {
			return slices.Compact(keys), nil
		}
	}
	if found {
		keys = []string{last}
	}
	return keys, nil
}

// remove removes an object whose copy is there.
func (a *asider) remove(ctx context.Context, key string) error {
	s := a.f.Partition.Store
	is, err := s.Stat(ctx, key)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	copied, err := s.Stat(ctx, a.key(key))
	if err != nil && !errors.Is(err, objstore.ErrNotExist) {
		return err
	}
	if err != nil || copied.Size != is.Size { // it came after the copy was whole
		if err := a.copy(ctx, key); err != nil {
			return err
		}
	}
	return s.Delete(ctx, key)
}
