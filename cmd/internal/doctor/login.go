package doctor

import (
	"context"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/saslconf"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

// login checks that a mail server can log in.
func (c *checkup) login() {
	n := len(c.all)
	opt, warnings, err := saslconf.Options(c.conf)
	if err != nil {
		c.errors(err)
		return
	}
	for _, w := range warnings {
		if where, text, ok := strings.Cut(w, ": sasl_mech_list: "); ok {
			c.warn(where, "sasl_mech_list: SCRAM-SHA-256", "sasl_mech_list: %s", text)
		}
	}
	saslauthd := slices.Contains(c.conf.Words("sasl_pwcheck_method"), "saslauthd")
	admins := logins(opt)
	where := c.conf.Origin("admins").String()
	switch {
	case len(opt.Admins.Words) == 0:
		c.fail(c.Config, "admins: repl", "admins is not set: nobody can log in")
	case !opt.Credentials.Exists() && !saslauthd:
		c.fail(c.conf.String("backup_credentials_path"), c.passwd(admins), "no user has a password: the file does not exist")
	case opt.Credentials.Exists():
		c.passwords(opt, admins, where, saslauthd)
	}
	if saslauthd {
		c.saslauthd()
	}
	c.scopes(admins)
	if a, err := sasl.New(opt); err != nil {
		c.fail(c.Config, "correct the sasl_ options: see backup-imapd.conf(5)", "%v", err)
	} else if len(a.Mechanisms(sasl.Layer{TLS: true, SSF: 256})) == 0 && c.sound(n) {
		c.fail(c.conf.Origin("sasl_mech_list").String(), "sasl_mech_list: SCRAM-SHA-256", "no mechanism is left to log in with")
	}
	if c.sound(n) {
		c.ok(where, "%s", strings.Join(opt.Admins.Words, " "))
	}
}

// logins returns the canonical names of the logins in admins. A word that is no login's name, such as anyone, stays as it is.
func logins(opt sasl.Options) (names []string) {
	for _, w := range opt.Admins.Words {
		if strings.HasPrefix(w, "group:") {
			continue
		}
		if name, err := opt.Users.Canonical(w); err == nil && strings.EqualFold(name, w) {
			w = name
		}
		names = append(names, w)
	}
	return names
}

// passwd is the command that sets the password of the first admin, or takes the passwords of Cyrus SASL.
func (c *checkup) passwd(admins []string) string {
	name := "repl"
	if len(admins) > 0 {
		name = admins[0]
	}
	set := "echo 'a long secret' | sudo -u " + c.user.Name + " ctl_backups passwd " + name
	if _, err := os.Stat(c.SASLDB); err == nil {
		set += "; or, if the old server's passwords are still right: sudo -u " + c.user.Name + " ctl_backups passwd --import " + c.SASLDB
	}
	return set
}

// passwords checks that an admin has a password.
func (c *checkup) passwords(opt sasl.Options, admins []string, where string, saslauthd bool) {
	var without []string
	for _, name := range admins {
		has, err := opt.Credentials.Has(name)
		if err != nil {
			file := c.conf.String("backup_credentials_path")
			c.fail(file, "chown "+c.user.owner()+" "+file+" && chmod 600 "+file+"; if it is damaged, remove it and run ctl_backups passwd again", "the passwords cannot be read: %v", err)
			return
		}
		if !has {
			without = append(without, name)
		}
	}
	if len(admins) > 0 && len(without) == len(admins) && !saslauthd {
		c.fail(where, c.passwd(admins), "no password is set for %s", strings.Join(without, ", "))
	}
}

// saslauthd checks that the daemon can reach saslauthd(8).
func (c *checkup) saslauthd() {
	path := c.conf.String("sasl_saslauthd_path")
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		c.fail(path, "systemctl start saslauthd; adduser "+c.user.Name+" sasl; or set sasl_saslauthd_path", "saslauthd cannot be reached: %v", err)
		return
	}
	_ = conn.Close() // nothing was sent
}
