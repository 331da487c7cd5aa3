package doctor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/prices"
	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/syslog"
)

// configuration reads imapd.conf as the daemon does. Without it, no other check is possible.
func (c *checkup) configuration() bool {
	c.check = "imapd.conf"
	switch err := accessible(c.Config, read); {
	case errors.Is(err, fs.ErrNotExist):
		c.fail(c.Config, "ctl_backups -C FILE doctor, or create it: see README.md", "%v", err)
		return false
	case err != nil:
		c.fail(c.Config, "chgrp "+c.user.Group+" "+c.Config+" && chmod 640 "+c.Config, "user %s cannot read it: %v", c.user.Name, err)
		return false
	}
	conf, err := imapconf.Load(c.Config, "backupd")
	if err != nil {
		c.errors(err)
		return false
	}
	c.conf = conf
	n := len(c.all)
	for _, w := range conf.Warnings() {
		c.warning(w)
	}
	if c.sound(n) {
		c.ok(c.Config, "no unknown or old option")
	}
	return true
}

// errors adds a finding for each fault, with its file and line.
func (c *checkup) errors(err error) {
	for _, e := range flat(err) {
		where, text, fix := located(e)
		c.fail(where, fix, "%s", text)
	}
}

// flat returns the errors that errors.Join has joined.
func flat(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // only a joined error itself, not one below
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, flat(e)...)
	}
	return out
}

// located divides an error into the place, the fault, and the remedy.
func located(err error) (where, text, fix string) {
	text = err.Error()
	var e *imapconf.Error
	if !errors.As(err, &e) {
		return "", text, ""
	}
	if e.File != "" {
		where = e.Origin.String()
		text = strings.TrimPrefix(text, where+": ")
	}
	text, allowed, _ := strings.Cut(text, "; allowed: ")
	switch {
	case allowed != "":
		fix = e.Key + ": " + allowed
	case strings.HasPrefix(e.Key, "backuppartition-"):
		fix = "give the partition its own location: /path, s3://bucket/prefix?region=… or minio://host:port/bucket/prefix; keys belong into backup_credentials_file"
	case strings.Contains(text, "is set a second time"):
		fix = "remove one of the lines"
	case e.Key != "":
		fix = "correct " + e.Key + ": see backup-imapd.conf(5)"
	default:
		fix = "correct the line: see backup-imapd.conf(5)"
	}
	return where, text, fix
}

// warning adds a finding for a warning of imapconf: FILE:LINE: TEXT.
func (c *checkup) warning(w string) {
	where, text, _ := strings.Cut(w, ": ")
	fix := "remove the line, if it is not for another program"
	if _, likely, ok := strings.Cut(text, "did you mean "); ok {
		fix = "write " + strings.TrimSuffix(likely, "?")
	} else if _, name, ok := strings.Cut(text, " is an old name of "); ok {
		fix = "write " + name
	}
	c.warn(where, fix, "%s", text)
}

// options checks values that only their users can check, and combinations.
func (c *checkup) options() {
	n := len(c.all)
	_, errLog := syslog.FromConfig(c.conf, "backupd", "")
	_, errTripwire := stores.Tripwire(c.conf)
	_, errName := c.conf.ServerName()
	for _, err := range []error{errLog, errTripwire, errName} {
		if err != nil {
			c.errors(err)
		}
	}
	if mask, err := strconv.ParseUint(c.conf.String("umask"), 8, 12); err != nil || mask > 0o777 {
		c.fail(c.conf.Origin("umask").String(), "umask: 077", "umask: %q is not an octal number up to 777", c.conf.String("umask"))
	}
	c.comments()
	for _, w := range stores.IdleRetention(c.conf) {
		where, text, _ := strings.Cut(w, ": ")
		c.warn(where, "backup_retention: 30d, or remove the line", "%s", text)
	}
	if wait, silence := c.conf.Duration("backup_outage_wait"), c.conf.Duration("sync_timeout"); wait >= silence {
		c.warn(c.conf.Origin("backup_outage_wait").String(), "backup_outage_wait: 10m",
			"backup_outage_wait (%v) is not below sync_timeout (%v): clients give up before they are deferred", wait, silence)
	}
	if file := c.conf.String("backup_metrics_file"); file != "" && (!strings.HasPrefix(file, "/") || !strings.HasSuffix(file, ".prom")) {
		c.fail(c.conf.Origin("backup_metrics_file").String(), "backup_metrics_file: /var/lib/prometheus/node-exporter/backupd.prom",
			"backup_metrics_file: %q is not an absolute path that ends in .prom: node_exporter reads no other file", file)
	}
	if listen := c.conf.String("backup_metrics_listen"); listen != "" && !strings.HasPrefix(listen, "/") && !strings.Contains(listen, ":") {
		c.fail(c.conf.Origin("backup_metrics_listen").String(), "backup_metrics_listen: 127.0.0.1:"+listen, "backup_metrics_listen: %q is neither host:port nor an absolute path", listen)
	}
	if option := c.conf.String("backup_prices"); option != "" {
		if _, err := prices.Parse(option); err != nil {
			c.fail(c.conf.Origin("backup_prices").String(), "backup_prices: EUR storage=0.02 put=0.005 get=0.0004", "%v", err)
		}
	}
	c.secrets()
	if c.sound(n) {
		c.ok(c.Config, "the values can be used")
	}
}

// comments finds values with a comment in them: imapd.conf has comments only in separate lines.
func (c *checkup) comments() {
	names := c.conf.Keys("backuppartition-")
	for _, o := range imapconf.Options() {
		if o.Type == imapconf.String && !o.Family && c.conf.IsSet(o.Name) {
			names = append(names, o.Name)
		}
	}
	for _, name := range names {
		value, _ := c.conf.Lookup(name)
		text, comment, found := strings.Cut(strings.ReplaceAll(value, "\t", " "), " #")
		if found && !strings.Contains(name, "password") {
			c.warn(c.conf.Origin(name).String(), name+": "+strings.TrimSpace(text), "the value of %s contains the comment #%s: comments need a separate line", name, comment)
		}
	}
}

// secrets checks that only the right users can read passwords.
func (c *checkup) secrets() {
	for _, option := range []string{"sync_password", "restore_password"} {
		file := c.conf.Origin(option).File
		if info, err := os.Stat(file); file != "" && err == nil && info.Mode().Perm()&0o004 != 0 {
			c.warn(c.conf.Origin(option).String(), "chgrp "+c.user.Group+" "+file+" && chmod 640 "+file, "every user of this host can read the value of %s", option)
		}
	}
	c.sealKey()
	const option = "backup_credentials_file" // login checks backup_credentials_path
	file := c.conf.String(option)
	if file == "" {
		return
	}
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrPermission):
		c.fail(file, "chmod a+x "+filepath.Dir(file), "user %s cannot reach this file (%s): %v", c.user.Name, option, err)
	case err != nil:
		c.fail(c.conf.Origin(option).String(), "install -o "+c.user.Name+" -g "+c.user.Group+" -m 600 /dev/null "+file, "%s: %v", option, err)
	case accessible(file, read) != nil:
		c.fail(file, "chown "+c.user.owner()+" "+file+" && chmod 600 "+file, "user %s cannot read this file (%s)", c.user.Name, option)
	case info.Mode().Perm()&0o044 != 0:
		c.warn(file, "chmod 600 "+file, "other users can read this file (%s)", option)
	}
}
