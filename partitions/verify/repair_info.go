package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// foreign sets aside what only lies under the backup's name, as a copy of another's folder.
func (r *repairer) foreign(ctx context.Context) (bool, error) {
	half, err := repository.PartlyAside(ctx, r.store, r.f.Path)
	if err != nil || !half && !r.what.info {
		return false, err
	}
	reason := "ctl_backups set-aside was cut off"
	if !half {
		o, err := r.f.Owner(ctx)
		if err != nil || !o.Foreign() {
			return false, err
		}
		reason = "its objects are those of the backup " + o.Other
	}
	f, err := r.named()
	if err != nil {
		return false, err
	}
	r.done.Aside, _, err = f.SetAside(ctx, reason, r.o.Lock, nil)
	if err != nil {
		return false, err
	}
	r.report(Repaired, repository.BackupPrefix(r.f.Path), "set aside as %s, since %s; the next sync begins a new backup", r.done.Aside, reason)
	return true, nil
}

// named is the backup with the name that its path says, whatever backup.json does.
func (r *repairer) named() (*repository.Found, error) {
	f := *r.f
	if f.Name().Path() == f.Path {
		return &f, nil
	}
	n, ok := repository.NameOf(f.Path)
	if !ok {
		return nil, fmt.Errorf("%s: the path does not tell whose backup it is: give the userid or the mailbox", f.Path)
	}
	f.Info = repository.BackupInfo{Name: n.Full, Kind: n.Kind}
	return &f, nil
}

// backupInfo puts backup.json again, if the log proves whose it is.
func (r *repairer) backupInfo(ctx context.Context) error {
	if !r.what.info {
		return nil
	}
	o, err := r.f.Owner(ctx)
	if err != nil {
		return err
	}
	key := repository.BackupInfoKey(r.f.Path)
	if !o.Own && o.Objects > 0 {
		return fmt.Errorf("%s: nothing in the log can be read that proves whose backup it is: ctl_backups set-aside lets a new one begin", key)
	}
	f, err := r.named()
	if err != nil {
		return err
	}
	opt := objstore.PutOptions{IfAbsent: true}
	if info, err := r.store.Stat(ctx, key); err == nil {
		opt = objstore.PutOptions{IfMatch: info.ETag}
	} else if !errors.Is(err, objstore.ErrNotExist) {
		return err
	}
	if o.Created.IsZero() {
		if o.Created, err = r.lock.Now(ctx); err != nil {
			return err
		}
	}
	if r.f.Info, err = f.PutInfo(ctx, opt, o.Created); err != nil {
		return err
	}
	r.report(Repaired, key, "put again: the log is that of the backup of %s", f.Name())
	return nil
}
