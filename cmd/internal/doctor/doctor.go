package doctor

import (
	"context"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/clock"
	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// Options configure Run.
type Options struct {
	Config    string // imapd.conf
	CyrusConf string // cyrus.conf
	Facts     Facts

	// For tests; zero: those of the host.
	Now     func() time.Time
	Space   func(path string) (Space, error)
	Systemd string // directory with the links of units that are on
	SASLDB  string // passwords of Cyrus SASL
	User    func() int
	Soon    time.Duration // before its end, a certificate is worth a warning
}

func (o *Options) setDefaults() {
	if o.Now == nil {
		o.Now = clock.Now
	}
	if o.Space == nil {
		o.Space = spaceOf
	}
	if o.Systemd == "" {
		o.Systemd = "/etc/systemd/system"
	}
	if o.SASLDB == "" {
		o.SASLDB = "/etc/sasldb2"
	}
	if o.Soon == 0 {
		o.Soon = 21 * 24 * time.Hour
	}
	if o.User == nil {
		o.User = os.Geteuid
	}
	if o.CyrusConf == "" {
		o.CyrusConf = "/etc/cyrus.conf"
	}
}

// checkup is one run.
type checkup struct {
	report
	Options
	user Account
	conf *imapconf.File
	lost bool // configdirectory cannot be used, which was reported
}

// Run checks the host, as the user and in the environment of this process.
func Run(ctx context.Context, o Options) []Finding {
	o.setDefaults()
	c := &checkup{Options: o}
	if c.user = lookUp(o.Facts.User); o.Facts.User == "" {
		c.user = accountOf(o.Config)
	}
	if !c.configuration() {
		return c.all
	}
	for _, check := range []struct {
		name string
		run  func()
	}{
		{"user", c.account},
		{"options", c.options},
		{"login", c.login},
		{"tls", c.certificates},
		{"directories", c.directories},
		{"index", c.index},
		{"memory", c.memory},
		{"master", c.master},
		{"compact", c.compaction},
	} {
		c.check = check.name
		check.run()
	}
	return append(c.all, c.partitions(ctx)...)
}

// Account is the user that the daemon runs as.
type Account struct {
	Name, Group string
	UID, GID    int
	Groups      []uint32
	Err         error // the user does not exist
}

// accountOf returns the daemon's user: master(8) takes it from CYRUS_USER, or imapd.conf.
func accountOf(config string) Account {
	name := os.Getenv("CYRUS_USER")
	if conf, err := imapconf.Load(config, "backupd"); err == nil && name == "" {
		name = conf.String("cyrus_user")
	}
	if name == "" {
		name = "cyrus"
	}
	return lookUp(name)
}

func lookUp(name string) Account {
	a := Account{Name: name, Group: "mail", UID: -1, GID: -1}
	u, err := user.Lookup(name)
	if err != nil {
		a.Err = err
		return a
	}
	a.UID, a.Err = strconv.Atoi(u.Uid)
	if gid, err := strconv.Atoi(u.Gid); err == nil {
		a.GID = gid
	}
	if g, err := user.LookupGroupId(u.Gid); err == nil {
		a.Group = g.Name
	}
	ids, err := u.GroupIds()
	for _, id := range ids {
		if n, bad := strconv.ParseUint(id, 10, 32); err == nil && bad == nil {
			a.Groups = append(a.Groups, uint32(n))
		}
	}
	return a
}

// owner is the argument of chown for the daemon's files.
func (a Account) owner() string { return a.Name + ":" + a.Group }

// account checks that the daemon's user exists, and that this process sees files as that user does.
func (c *checkup) account() {
	euid := c.User()
	switch {
	case c.user.Err != nil:
		c.fail(c.conf.Origin("cyrus_user").String(), "adduser --system --group --home /var/lib/cyrus "+c.user.Name,
			"the user of the daemon, %s, does not exist", c.user.Name)
	case euid == c.user.UID && euid != 0:
		c.ok(c.user.Name, "the checks see files as the daemon does")
	case euid != 0:
		c.warn(c.user.Name, "sudo ctl_backups doctor", "the checks ran as user %d, and the daemon runs as %s: permissions can differ", euid, c.user.Name)
	case c.user.UID == 0:
		c.fail(c.conf.Origin("cyrus_user").String(), "cyrus_user: cyrus", "backupd refuses to run as root")
	default:
		c.warn(c.user.Name, "sudo -u "+c.user.Name+" ctl_backups doctor", "the checks ran as root: permissions of %s were not checked", c.user.Name)
	}
	if c.Facts.Source != "" {
		c.ok(c.Facts.Source, "the checks used this environment")
	}
}

// beside returns the path of another program of this installation.
func beside(program string) string {
	self, err := os.Executable()
	if err != nil {
		return program
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	return filepath.Join(filepath.Dir(self), program)
}
