package repository

import (
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Reasons why a backup cannot be used.
var (
	ErrForeign = errors.New("the path holds another backup, see ctl_backups set-aside")
	ErrTwice   = errors.New("found in two partitions")
	ErrVersion = fmt.Errorf("%w: use a newer version of this program", history.ErrVersion)
)
