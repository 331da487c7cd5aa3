package cli

import (
	"context"
	"strings"

	"backupd/partitions"
)

// findPath finds a backup by its path, alone or as ctl_backups list shows it, behind its
// partition: which then is the one that is looked into, even if the backup has moved.
func (b *Bucket) findPath(ctx context.Context, arg string) (*partitions.Found, error) {
	if name, path, ok := strings.Cut(arg, ":"); ok {
		for _, p := range b.Partitions {
			if p.Name == name {
				return partitions.FindPath(ctx, p, inner(path))
			}
		}
	}
	f, err := partitions.FindAny(ctx, b.Partitions, inner(arg))
	if err != nil {
		return nil, err
	}
	return partitions.Find(ctx, b.Partitions, f.Name())
}

// inner is a path below backups/, of one that was copied from a listing of the bucket.
func inner(path string) string {
	return strings.Trim(strings.TrimPrefix(strings.TrimPrefix(path, "/"), "backups/"), "/")
}
