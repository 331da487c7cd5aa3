package collection

import (
	"context"
	"errors"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// errHalfAside reports a backup that was set aside in part.
var errHalfAside = errors.New("an interrupted set-aside has left some of its objects, which the copy has, too: repeat ctl_backups set-aside for it")

// cleared reports whether a backup cannot be counted because an interrupted set-aside was removing it. Nothing is lost then,
// because the copy has everything, and counts. Otherwise it returns why.
func cleared(ctx context.Context, s objstore.Store, g group, why error) (bool, error) {
	path, ok := strings.CutPrefix(g.prefix, backupPrefix)
	if !ok || failed(why) {
		return false, why
	}
	is, err := repository.Cleared(ctx, repository.Config{Store: s}, strings.TrimSuffix(path, "/"))
	switch {
	case err != nil && failed(err):
		return false, err
	case err != nil || !is:
		return false, why
	}
	return true, nil
}
