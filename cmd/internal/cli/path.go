package cli

import (
	"context"
	"strings"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// findPath finds a backup by its path. Behind the name of a partition that is the one
// which is looked into, even if the backup has moved.
func (b *Bucket) findPath(ctx context.Context, arg string) (*repository.Found, error) {
	parts, path := b.Path(arg)
	f, err := repository.FindAny(ctx, parts, path)
	if err != nil || f.Aside != "" || len(parts) < len(b.Partitions) {
		return f, err
	}
	return repository.Find(ctx, parts, f.Name())
}

// Path takes a backup's path as it was given: alone, as in a listing of the bucket, or as
// ctl_backups list shows it, behind its partition. in are the partitions it may be in.
func (b *Bucket) Path(arg string) (in []repository.Config, path string) {
	if name, rest, ok := strings.Cut(arg, ":"); ok {
		for _, p := range b.Partitions {
			if p.Name == name {
				return []repository.Config{p}, inner(rest)
			}
		}
	}
	return b.Partitions, inner(arg)
}

func inner(path string) string {
	return strings.Trim(strings.TrimPrefix(strings.TrimPrefix(path, "/"), "backups/"), "/")
}
