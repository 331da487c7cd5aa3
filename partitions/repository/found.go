package repository

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// ErrNoBackup: no partition holds the backup.
var ErrNoBackup = errors.New("no such backup")

// Found is a backup in a partition.
type Found struct {
	Partition Config
	Path      string // below backups/
	Info      BackupInfo
	// Unasked are partitions that could not be asked whether the backup was moved there.
	Unasked []Unasked
	// Aside is the key below which the backup was set aside; "" = it is in its place.
	// Partition.Store shows its objects under the keys that they had before.
	Aside string
}

// Where is the key below which the backup lies, for people: Path, or Aside.
func (f *Found) Where() string {
	if f.Aside != "" {
		return f.Aside
	}
	return f.Path
}

// Name is what the backup is for.
func (f *Found) Name() Name { return Name{f.Info.Kind, f.Info.Name} }

// Load reads the state of the backup at a moment.
func (f *Found) Load(ctx context.Context, at history.Moment) (*history.Mem, error) {
	return history.Load(ctx, f.Partition.Store, f.Path, at)
}

// Log is the backup's log.
func (f *Found) Log() *history.Log { return &history.Log{Store: f.Partition.Store, Backup: f.Path} }

// Find looks for a backup in the partitions; ErrNoBackup names those that were asked,
// ErrUnknown those that could not be. Of one that was moved it is the partition that it
// is used in.
func Find(ctx context.Context, parts []Config, n Name) (*Found, error) {
	copies, unasked, err := CopiesOf(ctx, parts, n)
	if err != nil {
		return nil, err
	}
	if len(copies) == 0 {
		return nil, notFound(n.String(), parts, unasked)
	}
	f, err := Current(ctx, copies)
	if err != nil {
		return nil, err
	}
	f.Unasked = unasked
	return f, nil
}

// FindPath looks for the backup with this path ("user/anne") in one partition, or for one
// that was set aside ("set-aside/user/anne/20261128T034709Z").
func FindPath(ctx context.Context, p Config, path string) (*Found, error) {
	if strings.HasPrefix(path, AsidePrefix) {
		return findAside(ctx, p, path)
	}
	info, err := ReadBackupInfo(ctx, p.Store, path)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w in partition %s (%s)", path, ErrNoBackup, p.Name, p.Location)
	}
	if err != nil {
		return nil, fmt.Errorf("partition %s: %w", p.Name, err)
	}
	return &Found{Partition: p, Path: path, Info: *info}, nil
}

// FindAny is FindPath in the first partition that has something of the backup: it may be
// used in another one since a move.
func FindAny(ctx context.Context, parts []Config, path string) (*Found, error) {
	var unasked []Unasked
	for _, p := range parts {
		f, err := FindPath(ctx, p, path)
		switch {
		case IsStoreError(err) && ctx.Err() == nil:
			unasked = append(unasked, Unasked{p, err})
		case !errors.Is(err, ErrNoBackup):
			return f, err
		}
	}
	return nil, notFound("backups/"+path, parts, unasked)
}
