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

// BrowseAll yields the backups of all partitions, one partition after the other. It omits
// copies that a move has left or is still making. A partition that cannot be read yields a
// single error, an UnaskedError; the backups of the others follow.
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

// usedHere reports whether the backup is used in this partition. If another partition
// cannot be read, the end of the log here shows whether the backup was moved out.
func (f *Found) usedHere(ctx context.Context, parts []Config) (bool, error) {
	copies, unasked, err := CopiesOf(ctx, parts, f.Name())
	if err != nil {
		return false, err
	}
	if len(unasked) > 0 && len(copies) == 1 && !isUnasked(f.Partition, unasked) {
		end, err := f.LogEnd(ctx)
		return err != nil || !end.Sealed(), nil // the caller will meet an error in the log by itself
	}
	at, err := Current(ctx, copies)
	return at != nil && at.Partition.Name == f.Partition.Name, err
}

// ErrIncomplete reports objects of a backup without a backup.json.
var ErrIncomplete = errors.New("backup.json is missing: repeat the move, export or import that was interrupted, or run ctl_backups verify --repair")

// Browse yields the backups of a partition in order of their paths. It makes a list request
// or two for each backup, however long the logs are. An error of one backup comes with a
// Found that has only its Path, and the others follow.
func Browse(ctx context.Context, p Config) iter.Seq2[*Found, error] {
	return func(yield func(*Found, error) bool) {
		after := ""
		for {
			path, err := NextBackup(ctx, p.Store, after)
			if err != nil {
				yield(nil, UnaskedError{p, err})
				return
			}
			if path == "" {
				return
			}
			f, err := readFound(ctx, p, path)
			if !yield(f, err) || IsStoreError(err) {
				return
			}
			after = "backups/" + path + "0" // "0" follows "/", so this key sorts after the whole backup
		}
	}
}

func readFound(ctx context.Context, p Config, path string) (*Found, error) {
	f := &Found{Partition: p, Path: path}
	info, err := ReadBackupInfo(ctx, p.Store, path)
	switch {
	case errors.Is(err, objstore.ErrNotExist):
		return f, fmt.Errorf("partition %s: backups/%s: %w", p.Name, path, ErrIncomplete)
	case err != nil:
		return f, fmt.Errorf("partition %s: %w", p.Name, err)
	}
	f.Info = *info
	return f, nil
}

// IsStoreError reports whether a request to the store failed, so that others will fail too.
func IsStoreError(err error) bool {
	var e *objstore.Error
	return errors.As(err, &e)
}

// NextBackup returns the path of the first backup after a key, or "" at the end.
func NextBackup(ctx context.Context, s objstore.Store, after string) (string, error) {
	for info, err := range s.List(ctx, "backups/", after) {
		if err != nil {
			return "", err
		}
		parts := strings.SplitN(info.Key, "/", 4)
		if len(parts) < 4 || !slices.Contains([]string{KindUser, KindShared, KindServer}, parts[1]) {
			continue // unknown key
		}
		return parts[1] + "/" + parts[2], nil
	}
	return "", nil
}
