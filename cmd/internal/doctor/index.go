package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/control"
)

// askTime limits the wait for a running daemon.
const askTime = 5 * time.Second

// index checks the local index. A running daemon has it open.
func (c *checkup) index() {
	if c.lost && !c.conf.IsSet("backup_index_path") {
		return // it is below configdirectory
	}
	dir := filepath.Clean(c.conf.String("backup_index_path"))
	n := len(c.all)
	c.room(&c.report, dir, c.conf.Size("backup_index_reserve")+opening, "make room, or set backup_index_path to another disk")
	for _, suffix := range []string{"", ".owner", ".receiver", ".sock", ".opening", ".damaged", ".damaged.old"} {
		if err := usable(dir + suffix); err != nil {
			c.fail(dir+suffix, c.repairOf(dir+suffix), "user %s cannot use it: %v", c.user.Name, err)
			return
		}
	}
	if !c.ownFiles(&c.report, dir) || !c.sound(n) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	socket := c.conf.String("backup_control_socket")
	_, err := control.Ask(ctx, socket, control.Request{Op: "ping"})
	switch {
	case err != nil && usable(socket) != nil: // reported with the directories
	case err == nil:
		c.ok(dir, "in use by a running backupd")
	case !errors.Is(err, control.ErrNoDaemon):
		c.fail(socket, "look into the log of backupd; restart master if it hangs", "backupd does not answer: %v", err)
	default:
		c.closedIndex(dir)
	}
}

// closedIndex checks an index that no daemon has open.
func (c *checkup) closedIndex(dir string) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		c.ok(dir, "it will be made when backupd starts")
		return
	}
	switch err := index.Check(dir); {
	case errors.Is(err, index.ErrInUse):
		c.ok(dir, "in use by another process")
	case err != nil:
		c.warn(dir, "none: backupd sets it aside and rebuilds it from the buckets", "it cannot be opened: %v", err)
	default:
		c.ok(dir, "no backupd is running; it can be opened")
	}
}
