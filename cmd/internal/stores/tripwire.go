package stores

import (
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/partitions/tripwire"
)

// Tripwire returns the rule of option backup_tripwire.
func Tripwire(conf *imapconf.File) (tripwire.Rule, error) {
	r, err := tripwire.Parse(conf.String(tripwire.Option))
	if err != nil {
		return r, conf.Errorf(tripwire.Option, "%v", err)
	}
	return r, nil
}
