package doctor

import (
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/internal/scopes"
)

// scopes checks the file of backup_scopes against the logins that admins allows.
func (c *checkup) scopes(admins []string) {
	const option = "backup_scopes"
	file := c.conf.String(option)
	if file == "" {
		return
	}
	table, err := stores.Scopes(c.conf)
	switch {
	case err != nil:
		c.fail(c.conf.Origin(option).String(), "correct "+file+": see "+option+" in backup-imapd.conf(5)", "%v", err)
		return
	case accessible(file, read) != nil:
		c.fail(file, "chown "+c.user.owner()+" "+file+" && chmod 600 "+file, "user %s cannot read this file (%s)", c.user.Name, option)
		return
	}
	c.scopesOf(table, file, admins)
}

func (c *checkup) scopesOf(table *scopes.Table, file string, admins []string) {
	logins := table.Logins()
	for _, name := range admins {
		if name != "anyone" && !slices.Contains(logins, name) {
			c.warn(file, name+" * %SHARED", "login %s has no line: nothing that it sends is stored", name)
		}
	}
	open := slices.ContainsFunc(c.conf.Words("admins"), func(w string) bool { return w == "anyone" || strings.HasPrefix(w, "group:") })
	slices.Sort(logins)
	for _, name := range logins {
		if !open && name != scopes.Unix && !slices.Contains(admins, name) {
			c.warn(file, "admins: "+strings.Join(append(slices.Clone(admins), name), " "), "%s has a line and is not in admins: it cannot log in", name)
		}
	}
}
