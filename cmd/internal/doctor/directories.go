package doctor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// directories checks the directories outside of partitions and the index.
func (c *checkup) directories() {
	n := len(c.all)
	dir := c.conf.String("configdirectory")
	where := c.conf.Origin("configdirectory").String()
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		c.fail(where, "install -d -o "+c.user.Name+" -g "+c.user.Group+" -m 750 "+dir, "configdirectory %s is not a directory that user %s can reach", dir, c.user.Name)
		c.lost = true
		return
	}
	failed := ""
	for _, d := range []struct{ option, path string }{
		{"configdirectory", dir},
		{"backup_control_socket", filepath.Dir(c.conf.String("backup_control_socket"))},
		{"backup_control_socket", c.conf.String("backup_control_socket")},
		{"proc_path", c.conf.String("proc_path")},
		{"temp_path", c.conf.String("temp_path")},
	} {
		if d.option == failed {
			continue
		}
		if err := usable(d.path); err != nil {
			failed = d.option
			c.fail(d.path, c.repairOf(d.path), "user %s cannot use it (%s): %v", c.user.Name, d.option, err)
			if d.option == "configdirectory" {
				c.lost = true
				return
			}
		}
	}
	if c.sound(n) {
		c.ok(dir, "user %s can use it", c.user.Name)
	}
}

// repairOf is the command that gives a file or directory to the daemon's user, or makes it.
func (c *checkup) repairOf(path string) string {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, unix.ENOTDIR):
		return "correct the path: a part of it is a file"
	case errors.Is(err, fs.ErrNotExist):
		return "install -d -o " + c.user.Name + " -g " + c.user.Group + " -m 700 " + path
	case err == nil && info.IsDir():
		return "chown -R " + c.user.owner() + " " + path + " && chmod u+rwx " + path
	}
	return "chown " + c.user.owner() + " " + path + " && chmod u+rw " + path
}
