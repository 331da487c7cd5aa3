package ctlbackups

import (
	"os"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/doctor"
	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// examine checks this host. It opens no partition for writing, and needs no valid imapd.conf.
func examine(c *command) error {
	if len(c.args) > 0 || c.anyMode() {
		return cli.Usagef("doctor takes no mode and no names: it checks this host")
	}
	if c.client {
		conf, err := imapconf.Load(c.config, "backupd")
		if err != nil {
			return &cli.ConfigError{Err: err}
		}
		return doctor.Client(c.out, conf, c.cyrusConf)
	}
	found, err := doctor.Examiner{
		Options: doctor.Options{Config: c.config, CyrusConf: c.cyrusConf},
		Sources: doctor.Sources{Proc: "/proc", Default: "/etc/default/cyrus-imapd", Shell: os.Environ(), Cron: doctor.CronFiles()},
		Command: []string{"ctl_backups", "doctor", "--ndjson"},
	}.Examine(c.ctx)
	if err == nil && c.structured() {
		err = doctor.PrintJSON(c.out, found, c.ndjson)
	} else if err == nil {
		err = doctor.Print(c.out, found)
	}
	switch worst := doctor.Worst(found); {
	case err != nil:
		return err
	case worst == doctor.Error:
		return cli.ExitError(cli.ExitCritical)
	case worst == doctor.Warning:
		return cli.ExitError(cli.ExitWarning)
	}
	return nil
}
