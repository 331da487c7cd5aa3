package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Limits for the completion of backups' names: nobody waits longer after TAB, or reads more.
const (
	proposeTime = time.Second
	proposeMost = 500
)

// ProposeBackups completes the name of a backup. It reads only partitions that are
// directories: pressing TAB must not send requests to a store, nor need credentials.
func ProposeBackups(ctx context.Context, config string, m Mode, begun string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(ctx, proposeTime)
	defer cancel()
	names, err := backupNames(ctx, config, m, begun)
	if err != nil && len(names) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func backupNames(ctx context.Context, config string, m Mode, begun string) ([]string, error) {
	conf, err := imapconf.Load(config, "")
	if err != nil {
		return nil, err
	}
	parts, closer, err := stores.Open(ctx, conf, stores.Options{Only: inUse, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	var out []string
	for _, p := range parts {
		for f, err := range repository.Browse(ctx, p) {
			if errors.Is(err, repository.ErrIncomplete) {
				continue
			}
			if err != nil || len(out) == proposeMost {
				return out, err
			}
			name := f.Info.Name
			if m == ByPath {
				name = f.Path
			} else if f.Info.Kind != repository.KindUser {
				continue
			}
			if strings.HasPrefix(name, begun) {
				out = append(out, name)
			}
		}
	}
	return out, nil
}

// inUse reports whether a partition is a directory with backups.
func inUse(l objstore.Location) bool {
	if l.Scheme != objstore.Dir {
		return false
	}
	_, err := os.Stat(filepath.Join(l.Path, "backups"))
	return err == nil
}

// ProposePartitions completes the name of a partition.
func ProposePartitions(config, begun string) ([]string, cobra.ShellCompDirective) {
	conf, err := imapconf.Load(config, "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveError
	}
	names, _, err := stores.Locations(conf)
	if err != nil && len(names) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveError
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, begun) })
	return names, cobra.ShellCompDirectiveNoFileComp
}
