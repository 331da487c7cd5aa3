package ctlbackups

import (
	"strings"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// tally counts the copied objects, messages and bytes of a command.
type tally struct {
	backups, failed int
	copied          repository.Copied
}

func (t *tally) add(d repository.Copied, err error) {
	if err != nil {
		t.failed++
		return
	}
	t.backups++
	t.copied.Objects += d.Objects
	t.copied.Chunks += d.Chunks
	t.copied.Bytes += d.Bytes
}

// attrs returns the tally as pairs for a log; to is empty if the destination is this server.
func (t *tally) attrs(what, to string) []any {
	out := []any{"what", what}
	if to != "" {
		out = append(out, "to", to)
	}
	return append(out, "backups", t.backups, "failed", t.failed, "objects", t.copied.Objects, "bytes", t.copied.Bytes)
}

// what names the backups of a command.
func (c *command) what() string {
	if c.mode == modeAll {
		return "all"
	}
	return strings.Join(c.args, " ")
}
