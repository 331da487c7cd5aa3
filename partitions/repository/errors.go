package repository

import (
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Reasons why a backup cannot be used.
var (
	ErrForeign = errors.New("it belongs to another backup")
	ErrTwice   = errors.New("it is in two partitions")
	ErrVersion = fmt.Errorf("%w: use a newer version of this program", history.ErrVersion)
)
