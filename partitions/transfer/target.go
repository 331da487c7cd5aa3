package transfer

import (
	"context"
	"time"

	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Target is a partition that backups are copied into.
type Target interface {
	Config() repository.Config
	// Repository returns repository.json, and makes it where there is none.
	Repository(ctx context.Context) (*repository.Info, error)
	// Condemned are the packs about to be deleted, to which nothing new may refer.
	Condemned(ctx context.Context) (*history.Condemned, error)
	// Conditional reports whether the store honours conditional puts.
	Conditional() bool
	// StoreNow is the store's time; newest is that of the newest commit, zero if there is none.
	StoreNow(ctx context.Context, newest time.Time) time.Time
	// Packing is how packs are written, and their size in bytes.
	Packing() (pack.Options, int64)
}
