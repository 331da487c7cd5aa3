package doctor

import (
	"errors"
	"io/fs"
	"os"
)

// sealKey checks the secret key of ctl_backups seal, if there is one on this host.
func (c *checkup) sealKey() {
	const option = "backup_seal_key"
	file := c.conf.String(option)
	if file == "" {
		return
	}
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.warn(c.conf.Origin(option).String(), beside("ctl_backups")+" seal --init-key", "%s: there is no secret key, so ctl_backups seal fails", option)
	case err != nil:
		c.warn(c.conf.Origin(option).String(), "", "%s: %v", option, err)
	case info.Mode().Perm()&0o077 != 0:
		c.fail(file, "chmod 600 "+file, "%s: others can use the key, so ctl_backups seal refuses it (%04o)", option, info.Mode().Perm())
	case accessible(file, read) != nil:
		c.fail(file, "chown "+c.user.owner()+" "+file+" && chmod 600 "+file, "user %s cannot read this file (%s)", c.user.Name, option)
	}
}
