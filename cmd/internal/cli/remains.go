package cli

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Remains finds the objects of a backup in each partition, even if the backup is damaged. The
// error is repository.ErrNoBackup if there are none.
func (b *Bucket) Remains(ctx context.Context, m Mode, arg string) ([]*repository.Found, error) {
	if arg == "" {
		return nil, Usagef("the name of a backup is empty")
	}
	parts, names := b.Partitions, []repository.Name{repository.UserName(arg)}
	switch m {
	case ByMailbox:
		names = b.ofMailbox(arg)
	case ByPath:
		var path string
		parts, path = b.Path(arg)
		n, ok := repository.NameOf(path)
		if !ok {
			return nil, fmt.Errorf("%s: the path does not identify a user: give the userid or the mailbox", arg)
		}
		names = []repository.Name{n}
	}
	for _, n := range names {
		list, err := repository.Remains(ctx, parts, n)
		if err != nil || len(list) > 0 {
			return list, err
		}
	}
	return nil, fmt.Errorf("%s: not found: %w", arg, repository.ErrNoBackup)
}
