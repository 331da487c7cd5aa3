package partitions

import (
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Reasons why a backup cannot be used.
var (
	errForeign = errors.New("it belongs to another backup")
	errTwice   = errors.New("it is in two partitions")
	errVersion = fmt.Errorf("%w: use a newer version of this program", history.ErrVersion)
)
