package stores

import (
	"fmt"

	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// IdleRetention returns a warning for each option about retention that has no effect, because
// backup_retention is not set.
func IdleRetention(conf *imapconf.File) (warnings []string) {
	if conf.Duration("backup_retention") > 0 {
		return nil
	}
	for _, name := range []string{"backup_keep_daily", "backup_keep_weekly", "backup_keep_monthly", "backup_keep_yearly", "backup_deleted_folders"} {
		if conf.IsSet(name) {
			warnings = append(warnings, fmt.Sprintf("%s: %s has no effect without backup_retention: everything is kept for ever", conf.Origin(name), name))
		}
	}
	return warnings
}
