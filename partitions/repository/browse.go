package repository

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// What tools read: the bucket itself, without an index, on any host that has its keys.

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

// BrowseAll yields the backups of all partitions, one partition after the other. It omits
// what is used in another of them since a move, and what a move is copying. A partition
// that cannot be asked is one error, an Unasked; the others are yielded.
func BrowseAll(ctx context.Context, parts []Config) iter.Seq2[*Found, error] {
	return func(yield func(*Found, error) bool) {
		for _, p := range parts {
			for f, err := range Browse(ctx, p) {
				if err == nil && len(parts) > 1 {
					var here bool
					if here, err = f.usedHere(ctx, parts); err == nil && !here {
						continue
					}
				}
				if errors.Is(err, ErrIncomplete) {
					if _, none := FindAny(ctx, parts, f.Path); none == nil {
						continue
					}
				}
				if !yield(f, err) {
					return
				}
			}
		}
	}
}

// usedHere says that the backup is not used in another partition. Where one of them
// cannot be asked, the end of the log here says whether it has gone.
func (f *Found) usedHere(ctx context.Context, parts []Config) (bool, error) {
	copies, unasked, err := CopiesOf(ctx, parts, f.Name())
	if err != nil {
		return false, err
	}
	if len(unasked) > 0 && len(copies) == 1 && !isUnasked(f.Partition, unasked) {
		end, err := f.LogEnd(ctx)
		return err != nil || !end.Sealed(), nil // what is wrong with the log is for the caller to find
	}
	at, err := Current(ctx, copies)
	return at != nil && at.Partition.Name == f.Partition.Name, err
}

// ErrIncomplete is of something that has objects of a backup, but no backup.json.
var ErrIncomplete = errors.New("has no backup.json: a move, an export or an import to there was cut off, which is finished by doing it again, or the object was lost")

// Browse yields the backups of a partition in order of their paths. It skips from one
// backup to the next: a list request or two for each, however long their logs are. What is
// wrong with one, of which Path is all that is known then, does not hide the others.
func Browse(ctx context.Context, p Config) iter.Seq2[*Found, error] {
	return func(yield func(*Found, error) bool) {
		after := ""
		for {
			path, err := NextBackup(ctx, p.Store, after)
			if err != nil {
				yield(nil, Unasked{p, err})
				return
			}
			if path == "" {
				return
			}
			f, err := browsed(ctx, p, path)
			if !yield(f, err) || IsStoreError(err) {
				return
			}
			after = "backups/" + path + "0" // which follows "/": behind all that is in the backup
		}
	}
}

func browsed(ctx context.Context, p Config, path string) (*Found, error) {
	f := &Found{Partition: p, Path: path}
	info, err := ReadBackupInfo(ctx, p.Store, path)
	switch {
	case errors.Is(err, objstore.ErrNotExist):
		return f, fmt.Errorf("partition %s: backups/%s %w", p.Name, path, ErrIncomplete)
	case err != nil:
		return f, fmt.Errorf("partition %s: %w", p.Name, err)
	}
	f.Info = *info
	return f, nil
}

// IsStoreError says that the store could not be asked, so that nothing else can be asked either.
func IsStoreError(err error) bool {
	var e *objstore.Error
	return errors.As(err, &e)
}

// NextBackup is the path of the first backup behind a key, "" at the end.
func NextBackup(ctx context.Context, s objstore.Store, after string) (string, error) {
	for info, err := range s.List(ctx, "backups/", after) {
		if err != nil {
			return "", err
		}
		parts := strings.SplitN(info.Key, "/", 4)
		if len(parts) < 4 || !slices.Contains([]string{KindUser, KindShared, KindServer}, parts[1]) {
			continue // not ours
		}
		return parts[1] + "/" + parts[2], nil
	}
	return "", nil
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
