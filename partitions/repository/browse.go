package repository

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
)

// What tools read: the bucket itself, without an index, on any host that has its keys.

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
