package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// setAsideForeign sets the backup aside if its objects belong to another backup, for
// example after somebody has copied a directory. It also finishes an interrupted SetAside.
func (r *repairer) setAsideForeign(ctx context.Context) (bool, error) {
	half, err := repository.PartlyAside(ctx, r.store, r.f.Path)
	if err != nil || !half && !r.diagnosis.info {
		return false, err
	}
	reason := "ctl_backups set-aside was interrupted"
	if !half {
		o, err := r.f.Owner(ctx)
		if err != nil || !o.Foreign() {
			return false, err
		}
		reason = "the objects belong to the backup " + o.Other
	}
	f, err := r.withOwnName()
	if err != nil {
		return false, err
	}
	r.done.Aside, _, err = f.SetAside(ctx, reason, r.o.Lock, nil)
	if err != nil {
		return false, err
	}
	r.report(Repaired, repository.BackupPrefix(r.f.Path), "set aside as %s, because %s; the next sync starts a new backup", r.done.Aside, reason)
	return true, nil
}

// withOwnName returns the backup with the name from its path, whatever backup.json contains.
func (r *repairer) withOwnName() (*repository.Found, error) {
	f := *r.f
	if f.Name().Path() == f.Path {
		return &f, nil
	}
	n, ok := repository.NameOf(f.Path)
	if !ok {
		return nil, fmt.Errorf("%s: the path does not contain the complete name of the backup: give the userid or the mailbox instead", f.Path)
	}
	f.Info = repository.BackupInfo{Name: n.Full, Kind: n.Kind}
	return &f, nil
}

// backupInfo rewrites backup.json if the log proves the owner of the backup.
func (r *repairer) backupInfo(ctx context.Context) error {
	if !r.diagnosis.info {
		return nil
	}
	o, err := r.f.Owner(ctx)
	if err != nil {
		return err
	}
	key := repository.BackupInfoKey(r.f.Path)
	if !o.Own && o.Objects > 0 {
		return fmt.Errorf("%s: no readable commit proves the owner of the backup: run ctl_backups set-aside to start a new one", key)
	}
	f, err := r.withOwnName()
	if err != nil {
		return err
	}
	opt := objstore.PutOptions{IfAbsent: true}
	if info, err := r.store.Stat(ctx, key); err == nil {
		opt = objstore.PutOptions{IfMatch: info.ETag}
	} else if !errors.Is(err, objstore.ErrNotExist) {
		return err
	}
	created, err := r.created(ctx, o)
	if err != nil {
		return err
	}
	if f.Info.Version, err = r.infoVersion(ctx); err != nil {
		return err
	}
	if r.f.Info, err = f.PutInfo(ctx, opt, created); err != nil {
		return err
	}
	r.report(Repaired, key, "rewritten: the log belongs to the backup of %s", f.Name())
	return nil
}

// created returns the time of creation for a new backup.json; zero = unknown. The first commit that is left may be much
// younger than the backup, and an erasure of its history that is not complete would take it for another backup.
func (r *repairer) created(ctx context.Context, o repository.Owner) (time.Time, error) {
	if o.First != 1 {
		erasing, err := r.f.ErasingPart(ctx)
		if err != nil || erasing {
			return time.Time{}, err
		}
	}
	if o.Created.IsZero() {
		return r.lock.Now(ctx)
	}
	return o.Created, nil
}

// infoVersion returns the version for a new backup.json: older programs must refuse a backup with erased messages
// (repository.Found.MarkErased).
func (r *repairer) infoVersion(ctx context.Context) (int, error) {
	for e, err := range repository.Erasures(ctx, r.f.Partition, time.Time{}) {
		if err != nil && (e == nil || repository.IsStoreError(err)) {
			return 0, err
		}
		if err == nil && e.OfMessages() && e.Backup == r.f.Path {
			return repository.VersionErased, nil
		}
	}
	m, err := r.f.Load(ctx, history.Moment{Tolerant: true})
	if history.IsDamage(err) {
		return repository.VersionErased, nil // nobody knows
	}
	if errors.Is(err, history.ErrBeforeFirst) || errors.Is(err, history.ErrNotKept) {
		return repository.Version, nil
	}
	if err != nil {
		return 0, err
	}
	if m.HasErased() {
		return repository.VersionErased, m.Close()
	}
	return repository.Version, m.Close()
}
