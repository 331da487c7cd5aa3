package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// AllShared is the userid by which Cyrus Backups names its one backup of all shared mail.
// Here each top-level shared mailbox has its own backup, and AllShared means all of them.
const AllShared = "%SHARED"

// Shared returns the backups of shared mailboxes.
func (b *Bucket) Shared(ctx context.Context) iter.Seq2[*repository.Found, error] {
	return func(yield func(*repository.Found, error) bool) {
		for f, err := range repository.BrowseAll(ctx, b.Partitions) {
			if err == nil && f.Info.Kind != repository.KindShared {
				continue
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// findShared returns the backup that AllShared means if only one is allowed.
func (b *Bucket) findShared(ctx context.Context) (*repository.Found, error) {
	var found *repository.Found
	var names []string
	for f, err := range b.Shared(ctx) {
		if err != nil {
			return nil, err
		}
		found = f
		names = append(names, f.Info.Name)
	}
	switch len(names) {
	case 0:
		return nil, fmt.Errorf("%s: %w of a shared mailbox", AllShared, repository.ErrNoBackup)
	case 1:
		return found, nil
	}
	return nil, Usagef("%s means %d backups here, one for each top-level mailbox. Choose one with -m: %s", AllShared, len(names), strings.Join(names, ", "))
}

// findUser finds the backup of a user, or of a name that ctl_backups list prints: shared/sh1,
// server/annotations.
func (b *Bucket) findUser(ctx context.Context, arg string) (*repository.Found, error) {
	if arg == AllShared {
		return b.findShared(ctx)
	}
	f, err := repository.Find(ctx, b.Partitions, repository.UserName(arg))
	kind, _, _ := strings.Cut(arg, "/")
	if !errors.Is(err, repository.ErrNoBackup) || kind != repository.KindShared && kind != repository.KindServer {
		return f, err
	}
	if listed, pathErr := b.findPath(ctx, arg); pathErr == nil {
		return listed, nil
	}
	return nil, err
}
