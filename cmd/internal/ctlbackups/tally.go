package ctlbackups

import (
	"strings"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// tally counts what a command has copied.
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

// attrs are the tally as pairs for a log; to is empty where it is this server.
func (t *tally) attrs(what, to string) []any {
	out := []any{"what", what}
	if to != "" {
		out = append(out, "to", to)
	}
	return append(out, "backups", t.backups, "failed", t.failed, "objects", t.copied.Objects, "bytes", t.copied.Bytes)
}

// what says which backups a command was given.
func (c *command) what() string {
	if c.mode == modeAll {
		return "all"
	}
	return strings.Join(c.args, " ")
}
