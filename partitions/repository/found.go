package repository

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// ErrNoBackup reports that no partition holds the backup.
var ErrNoBackup = errors.New("no such backup")

// Found is a backup in a partition.
type Found struct {
	Partition Config
	Path      string // below backups/
	Info      BackupInfo
	// Unasked are the partitions that could not be read. The backup may have been moved
	// to one of them.
	Unasked []UnaskedError
	// Aside is the prefix of a backup that was set aside, else "". Partition.Store shows
	// its objects under their old keys.
	Aside string

	read   objectVersion // of backup.json, with Info; zero = unknown
	listed *listing      // by Browse; nil: not listed
	known  *knownBackup  // by BrowseKnown, with what the run adds; nil: nothing is remembered
}

// Where returns Aside or Path, for messages.
func (f *Found) Where() string {
	if f.Aside != "" {
		return f.Aside
	}
	return f.Path
}

// Name returns the name in backup.json.
func (f *Found) Name() Name { return Name{f.Info.Kind, f.Info.Name} }

// Load reads the state of the backup at a given moment.
func (f *Found) Load(ctx context.Context, at history.Moment) (*history.Mem, error) {
	at.ID = f.Info.ID
	return history.Load(ctx, f.Partition.Store, f.Path, at)
}

// Log returns the log of the backup.
func (f *Found) Log() *history.Log {
	return &history.Log{Store: f.Partition.Store, Backup: f.Path, ID: f.Info.ID}
}

// Find finds a backup. If it was moved, Find returns the copy in use. The error is
// ErrNoBackup if no partition has it, and ErrUnknown if some could not be read.
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

// FindPath finds the backup with a path in one partition: "user/anne", or
// "set-aside/user/anne/20261128T034709Z" for a backup that was set aside.
func FindPath(ctx context.Context, p Config, path string) (*Found, error) {
	if strings.HasPrefix(path, AsidePrefix) {
		return findAside(ctx, p, path)
	}
	info, read, err := readBackupInfo(ctx, p.Store, path)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w in partition %s (%s)", path, ErrNoBackup, p.Name, p.Location)
	}
	if err != nil {
		return nil, fmt.Errorf("partition %s: %w", p.Name, err)
	}
	return &Found{Partition: p, Path: path, Info: *info, read: read}, nil
}

// FindAny finds the backup with a path in the first partition that has objects of it,
// which is not always the partition where it is in use.
func FindAny(ctx context.Context, parts []Config, path string) (*Found, error) {
	var unasked []UnaskedError
	for _, p := range parts {
		f, err := FindPath(ctx, p, path)
		switch {
		case IsStoreError(err) && ctx.Err() == nil:
			unasked = append(unasked, UnaskedError{p, err})
		case !errors.Is(err, ErrNoBackup):
			return f, err
		}
	}
	return nil, notFound("backups/"+path, parts, unasked)
}
