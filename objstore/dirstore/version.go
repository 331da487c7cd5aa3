package dirstore

import (
	"context"
	"iter"

	"github.com/cyrusbackup/backupd/objstore"
)

// Noncurrent yields nothing: a directory has no versions.
func (s *Store) Noncurrent(context.Context, string, string) iter.Seq2[objstore.Version, error] {
	return func(func(objstore.Version, error) bool) {}
}

// DeleteVersion does nothing: every version is missing.
func (s *Store) DeleteVersion(context.Context, objstore.Version) error { return nil }
