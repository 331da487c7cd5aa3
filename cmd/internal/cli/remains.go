package cli

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Remains finds the objects of a backup in each partition, even if the backup is damaged. The
// error is repository.ErrNoBackup if there are none.
func (b *Bucket) Remains(ctx context.Context, m Mode, arg string) ([]*repository.Found, error) {
	parts := b.Partitions
	if m == ByPath {
		parts, _ = b.Path(arg)
	}
	names, err := b.Names(m, arg)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		list, err := repository.Remains(ctx, parts, n)
		if err != nil || len(list) > 0 {
			return list, err
		}
	}
	return nil, fmt.Errorf("%s: not found: %w", arg, repository.ErrNoBackup)
}

// Names returns the names of the backups that an argument may mean, the likeliest first, whether
// they exist or not.
func (b *Bucket) Names(m Mode, arg string) ([]repository.Name, error) {
	switch {
	case arg == "":
		return nil, Usagef("the name of a backup is empty")
	case m == ByMailbox:
		return b.ofMailbox(arg), nil
	case m == ByPath:
		_, path := b.Path(arg)
		n, ok := repository.NameOf(path)
		if !ok {
			return nil, fmt.Errorf("%s: the path does not identify a user: give the userid or the mailbox", arg)
		}
		return []repository.Name{n}, nil
	}
	return []repository.Name{repository.UserName(arg)}, nil
}
