package doctor

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cyrusbackup/backupd/internal/master"
)

// masterFiles is how many file descriptors master allows a service without maxfds=.
const masterFiles = 256

// line is the entry that cyrus.conf needs.
func (c *checkup) line() string {
	return fmt.Sprintf(`SERVICES { backupd cmd="%s" listen="2005" prefork=0 maxfds=%d }`, beside("backupd"), c.files())
}

// files is how many descriptors the daemon should have: it needs fewer, but has places for clients that never
// log in with these.
func (c *checkup) files() int {
	return max(2500, c.conf.Int("backup_max_connections")+master.OwnFiles+master.MostStrangers)
}

// unit reports whether a unit of systemd is on, such as sockets.target.wants/cyrus-backupd.socket.
func (c *checkup) unit(link string) bool {
	_, err := os.Lstat(filepath.Join(c.Systemd, link))
	return err == nil
}

// master checks the entry of cyrus.conf that starts backupd.
func (c *checkup) master() {
	n := len(c.all)
	text, err := os.ReadFile(c.CyrusConf)
	if c.unit("sockets.target.wants/cyrus-backupd.socket") {
		c.ok("cyrus-backupd.socket", "systemd starts backupd, without master")
		return
	}
	if err != nil {
		fix := "write " + c.line() + ", or systemctl enable --now cyrus-backupd.socket"
		if !errors.Is(err, fs.ErrNotExist) {
			fix = "chmod a+r " + c.CyrusConf
		}
		c.fail(c.CyrusConf, fix, "%v", err)
		return
	}
	all := parseCyrusConf(string(text))
	for _, e := range all {
		path, _ := e.program()
		if e.bad != "" {
			c.fail(c.at(e), "correct the line, or move its entries to the first section: see cyrus.conf(5)", "%s: %s", e.name, e.bad)
		} else if filepath.Base(path) == "backupd" && e.section != "SERVICES" {
			c.fail(c.at(e), "move the line to SERVICES", "%s is in %s: backupd needs the socket that master opens for SERVICES", e.name, e.section)
		}
	}
	entries := daemons(all)
	if len(entries) == 0 && c.sound(n) {
		c.fail(c.CyrusConf, c.line(), "no line in SERVICES starts backupd")
	}
	for _, e := range entries {
		if e.bad == "" {
			c.service(e)
			c.shared(e, all)
		}
	}
	c.running()
	if c.sound(n) {
		c.ok(c.at(entries[0]), "%s listens at %s", entries[0].name, entries[0].value["listen"])
	}
}

func (c *checkup) at(e entry) string { return c.CyrusConf + ":" + strconv.Itoa(e.line) }

// service checks an entry that starts backupd.
func (c *checkup) service(e entry) {
	path, args := e.program()
	c.binary(e, path)
	c.port(e)
	if proto := e.value["proto"]; proto != "" && !strings.HasPrefix(proto, "tcp") {
		c.fail(c.at(e), "remove proto=", "proto=%s: backupd needs tcp", proto)
	}
	files := masterFiles
	if text := e.value["maxfds"]; text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			c.fail(c.at(e), fmt.Sprintf("maxfds=%d", c.files()), "maxfds=%s is not a number", text)
			return
		}
		files = n
	}
	if connections := c.conf.Int("backup_max_connections"); files < connections+master.OwnFiles {
		c.warn(c.at(e), fmt.Sprintf("maxfds=%d in this line, or backup_max_connections: %d in imapd.conf", c.files(), max(1, files-master.OwnFiles)),
			"master allows %d file descriptors, and %d connections need %d", files, connections, connections+master.OwnFiles)
	}
	if config := configOf(args); config != "" && config != c.Config {
		c.warn(c.at(e), "ctl_backups -C "+config+" doctor", "backupd reads %s, and these checks %s", config, c.Config)
	}
}

// configOf returns the argument of -C.
func configOf(args []string) string {
	for i, a := range args {
		switch {
		case a == "-C" && i+1 < len(args):
			return args[i+1]
		case strings.HasPrefix(a, "-C"):
			return strings.TrimPrefix(a, "-C")
		}
	}
	return ""
}

// binary checks the program of an entry: Debian's cyrus-common has an older backupd, and master finds
// that for a name without a path.
func (c *checkup) binary(e entry, path string) {
	good := beside(filepath.Base(path))
	if !filepath.IsAbs(path) {
		c.fail(c.at(e), `cmd="`+good+`"`, "master looks for %s in its own directory, where Cyrus's program of this name is: write the whole path", path)
		return
	}
	err := accessible(path, enter)
	if errors.Is(err, fs.ErrNotExist) {
		c.fail(c.at(e), `cmd="`+good+`"`, "%s does not exist", path)
		return
	}
	if err != nil {
		c.fail(c.at(e), "chmod a+rx "+path, "user %s cannot run %s: %v", c.user.Name, path, err)
		return
	}
	info, err := buildinfo.ReadFile(path)
	if err == nil && strings.HasPrefix(info.Path, "github.com/cyrusbackup/backupd/") {
		return
	}
	c.fail(c.at(e), `cmd="`+good+`"`, "%s is another program: Cyrus's own", path)
}

// port checks the address of an entry.
func (c *checkup) port(e entry) {
	listen := e.value["listen"]
	if listen == "" {
		c.fail(c.at(e), `listen="2005"`, "%s has no listen=", e.name)
		return
	}
	if strings.HasPrefix(listen, "/") {
		return
	}
	port := listen[strings.LastIndex(listen, ":")+1:]
	if _, err := new(net.Resolver).LookupPort(context.Background(), "tcp", port); err != nil {
		c.fail(c.at(e), `listen="2005", or add "csync 2005/tcp" to /etc/services`, "listen=%q: %v", listen, err)
	}
}

// shared finds another service at the same address.
func (c *checkup) shared(e entry, all []entry) {
	i := slices.IndexFunc(all, func(o entry) bool {
		return o.section == "SERVICES" && o.line != e.line && o.value["listen"] != "" && o.value["listen"] == e.value["listen"]
	})
	if i >= 0 {
		c.fail(c.at(e), "give one of them another port", "%s listens at the same address as %s (line %d)", e.name, all[i].name, all[i].line)
	}
}

// running checks the limit of the process that serves or starts connections.
func (c *checkup) running() {
	if c.Facts.Daemon == 0 || c.Facts.Files == 0 {
		return
	}
	if need := c.conf.Int("backup_max_connections") + master.OwnFiles; c.Facts.Files < need {
		c.warn(fmt.Sprintf("process %d", c.Facts.Daemon), fmt.Sprintf("maxfds=%d in cyrus.conf, LimitNOFILE=%d in the unit of master; then restart master", c.files(), 2*c.files()),
			"the running backupd may open %d files, and %d connections need %d", c.Facts.Files, c.conf.Int("backup_max_connections"), need)
	}
}
