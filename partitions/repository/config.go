package repository

import (
	"github.com/cyrusbackup/backupd/objstore"
)

// Config is a configured partition.
type Config struct {
	Name     string         // NAME of backuppartition-NAME
	Location string         // for messages; contains no secret
	Store    objstore.Store // may retry and measure requests, but must not retry conditional puts
}
