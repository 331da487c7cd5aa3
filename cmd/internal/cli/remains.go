package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/internal/cyrus"
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

// WholeNames is Names for a verb that changes all copies of a whole backup. It refuses an
// argument that means less: a folder, or the copy in one partition.
func (b *Bucket) WholeNames(m Mode, arg string) ([]repository.Name, error) {
	switch m {
	case ByPath:
		if in, path := b.Path(arg); len(in) == 1 && strings.HasPrefix(arg, in[0].Name+":") {
			return nil, Usagef("%s is one copy, and the command is about all copies of a backup: give the path without the partition, %s", arg, path)
		}
	case ByMailbox:
		return b.ofTopMailbox(arg)
	}
	return b.Names(m, arg)
}

// ofTopMailbox is ofMailbox for an argument that must name all mailboxes of a backup.
func (b *Bucket) ofTopMailbox(arg string) ([]repository.Name, error) {
	var out []repository.Name
	for _, name := range stores.AdminForm(b.Conf).Candidates(arg) {
		n := stores.Names(b.Conf).Of(name)
		if (cyrus.IsInbox(name) || n.Kind == repository.KindShared && n.Full == name) && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	if len(out) == 0 {
		return nil, Usagef("%s is a folder, and the command is about whole backups: give the userid, or the INBOX or top-level mailbox", arg)
	}
	return out, nil
}
