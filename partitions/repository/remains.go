package repository

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/objstore"
)

// Remains finds a backup for tools that repair it, in each partition that has any object
// of it, or an interrupted SetAside. Its backup.json may be missing, unreadable or that of
// another backup; Info then has the name only.
func Remains(ctx context.Context, parts []Config, n Name) ([]*Found, error) {
	var out []*Found
	for _, p := range parts {
		there, err := hasObjects(ctx, p.Store, n.Path())
		if err == nil && !there {
			there, err = PartlyAside(ctx, p.Store, n.Path())
		}
		if err != nil {
			return nil, fmt.Errorf("partition %s: %w", p.Name, err)
		}
		if !there {
			continue
		}
		f := &Found{Partition: p, Path: n.Path(), Info: BackupInfo{Name: n.Full, Kind: n.Kind}}
		info, err := ReadBackupInfo(ctx, p.Store, f.Path)
		switch {
		case IsStoreError(err) && !errors.Is(err, objstore.ErrNotExist):
			return nil, fmt.Errorf("partition %s: %w", p.Name, err)
		case err == nil && info.Check(n) == nil:
			f.Info = *info
		}
		out = append(out, f)
	}
	return out, nil
}

// PartlyAside reports whether an interrupted SetAside of the backup has to be finished.
func PartlyAside(ctx context.Context, s objstore.Store, path string) (bool, error) {
	for base, err := range asideBases(ctx, s, AsidePrefix+path+"/") {
		if err != nil {
			return false, err
		}
		a, err := readAsideInfo(ctx, s, base)
		if err != nil && !errors.Is(err, objstore.ErrNotExist) {
			return false, err
		}
		if err == nil && a.State != asideDone {
			return true, nil
		}
	}
	return false, nil
}

// hasObjects reports whether the backup has any object below backups/, ignoring its
// leases.
func hasObjects(ctx context.Context, s objstore.Store, path string) (bool, error) {
	for info, err := range s.List(ctx, BackupPrefix(path), "") {
		if err != nil {
			return false, err
		}
		if info.Key != LockKey(path) && info.Key != UpkeepKey(path) {
			return true, nil
		}
	}
	return false, nil
}
