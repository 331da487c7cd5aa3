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
	// Repository returns repository.json, and creates it if it is missing.
	Repository(ctx context.Context) (*repository.Info, error)
	// Condemned returns the packs that will be deleted. Nothing new may refer to them.
	Condemned(ctx context.Context) (*history.Condemned, error)
	// Conditional reports whether the store honours conditional puts.
	Conditional() bool
	// StoreNow returns the store's time. newest is the time of the newest commit, or zero.
	StoreNow(ctx context.Context, newest time.Time) time.Time
	// Packing returns the options for packs, and their size in bytes.
	Packing() (pack.Options, int64)
}
