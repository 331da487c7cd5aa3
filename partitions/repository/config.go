package repository

import (
	"github.com/cyrusbackup/backupd/objstore"
)

// Config is one configured partition.
type Config struct {
	Name     string         // NAME of backuppartition-NAME
	Location string         // for messages; holds no secret
	Store    objstore.Store // retried and observed as the caller wishes; conditional puts not repeated
}
