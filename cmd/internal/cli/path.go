package cli

import (
	"context"
	"strings"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// findPath finds a backup by its path. If the path begins with the name of a partition, it
// searches only there, even if the backup has moved.
func (b *Bucket) findPath(ctx context.Context, arg string) (*repository.Found, error) {
	parts, path := b.Path(arg)
	f, err := repository.FindAny(ctx, parts, path)
	if err != nil || f.Aside != "" || len(parts) < len(b.Partitions) {
		return f, err
	}
	return repository.Find(ctx, parts, f.Name())
}

// Path parses a backup's path: alone, as in a listing of the bucket, or after the name of its
// partition, as ctl_backups list prints it. in are the partitions to search.
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
