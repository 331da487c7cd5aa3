package repository

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
)

// Whole is all that one partition has of a backup, whether it is damaged or not.
type Whole struct {
	Partition Config
	Active    *Found   // below backups/, or nil
	Leases    *Found   // below backups/ if there is nothing but leases, or nil
	Aside     []*Found // set aside, in the folder of this backup or of another
	// Strays are folders below the backup's in set-aside/ without a set-aside.json.
	Strays []string
}

// Everything finds all that one partition has of a backup. It returns an error if it cannot
// determine whose something is.
func Everything(ctx context.Context, p Config, n Name) (*Whole, error) {
	w, err := everything(ctx, p, n)
	if err != nil {
		return nil, fmt.Errorf("partition %s: %w", p.Name, err)
	}
	return w, nil
}

func everything(ctx context.Context, p Config, n Name) (*Whole, error) {
	w := &Whole{Partition: p}
	list, err := Remains(ctx, []Config{p}, n)
	if err != nil {
		return nil, err
	}
	for _, f := range list {
		owner, err := f.Owner(ctx)
		if err != nil {
			return nil, err
		}
		if owner.Foreign() {
			return nil, fmt.Errorf("backups/%s has the log of backups/%s: %w", f.Path, owner.Other, ErrForeign)
		}
		w.Active = f
	}
	if w.Active == nil {
		for _, err := range p.Store.List(ctx, BackupPrefix(n.Path()), "") {
			if err != nil {
				return nil, err
			}
			w.Leases = &Found{Partition: p, Path: n.Path(), Info: BackupInfo{Name: n.Full, Kind: n.Kind}}
			break
		}
	}
	for base, err := range asideBases(ctx, p.Store, AsidePrefix) {
		if err != nil {
			return nil, err
		}
		f, err := findAside(ctx, p, base)
		switch {
		case errors.Is(err, ErrNoBackup):
			if strings.HasPrefix(base, AsidePrefix+n.Path()+"/") {
				w.Strays = append(w.Strays, base)
			}
		case err != nil:
			return nil, err
		case f.Path == n.Path():
			w.Aside = append(w.Aside, f)
		}
	}
	return w, nil
}

// HoldAside takes a lease on a backup that was set aside, so that it can be erased. The error is
// ErrUpkeep if another program has it, and ErrOnHold if the backup is on hold. A hold that is
// placed from then on waits for the end of the lease (AwaitUpkeep).
func HoldAside(ctx context.Context, f *Found, o LockOptions) (*Upkeep, error) {
	p := f.Partition
	raw, ok := p.Store.(asideStore)
	if f.Aside == "" || !ok {
		return nil, fmt.Errorf("%s was not set aside", f.Where())
	}
	p.Store = raw.Store
	u, err := NewLeases(p, o).take(ctx, f.Aside+"/"+upkeepName, f.Aside, nil)
	if err != nil {
		return nil, err
	}
	if err := u.CheckHolds(f); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Aside, err), u.End(context.WithoutCancel(ctx)))
	}
	return u, nil
}

// Remove ends the lease and removes its object, with the last object of the backup.
func (u *Upkeep) Remove(ctx context.Context) error { return u.remove(ctx) }

// AsideInfoKey is the key of the description of a backup that was set aside. It is removed last.
func AsideInfoKey(base string) string { return asideInfoKey(base) }

// StillAside returns ErrNoBackup if a backup that was set aside has been erased.
func (f *Found) StillAside(ctx context.Context) error {
	raw, ok := f.Partition.Store.(asideStore)
	if !ok {
		return fmt.Errorf("%s was not set aside", f.Where())
	}
	_, err := raw.Store.Stat(ctx, asideInfoKey(f.Aside))
	if errors.Is(err, objstore.ErrNotExist) {
		return fmt.Errorf("%s: %w: it was erased meanwhile", f.Aside, ErrNoBackup)
	}
	return err
}

// IsAside reports whether a folder has the description of a backup that was set aside.
func IsAside(ctx context.Context, s objstore.Store, base string) (bool, error) {
	_, err := s.Stat(ctx, asideInfoKey(base))
	if errors.Is(err, objstore.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
