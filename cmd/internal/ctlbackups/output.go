package ctlbackups

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// structured reports whether the output is JSON.
func (c *command) structured() bool { return c.json || c.ndjson }

// object writes one JSON object, on several lines like Cyrus's ctl_backups, or on one line. Like
// Cyrus's, it has no escapes that JSON does not require.
func (c *command) object(v any) error {
	enc := json.NewEncoder(c.out)
	enc.SetEscapeHTML(false)
	if !c.ndjson {
		enc.SetIndent("", "  ")
	}
	return enc.Encode(v)
}

// size formats a number of bytes; with -h for people.
func (c *command) size(n int64) string {
	if c.human && n >= 0 {
		return humanize.Bytes(uint64(n))
	}
	return fmt.Sprint(n)
}

// bytes returns a size with its unit.
func (c *command) bytes(n int64) string {
	if c.human && n >= 0 {
		return c.size(n)
	}
	return fmt.Sprintf("%d bytes", n)
}

// label names a backup in output: by the userid, or by its path.
func label(f *repository.Found) string {
	if f.Info.Kind == repository.KindUser && f.Aside == "" && f.Name().Path() == f.Path {
		return f.Info.Name
	}
	return f.Where()
}

// userID returns the user of a backup; "" if it has none, or was set aside.
func userID(f *repository.Found) string {
	if f.Info.Kind == repository.KindUser && f.Aside == "" {
		return f.Info.Name
	}
	return ""
}

// place returns the partition and path of a backup.
func place(f *repository.Found) string { return f.Partition.Name + ":" + f.Where() }

// status prints the result of a command for one backup, like Cyrus's ctl_backups.
func (c *command) status(verb string, f *repository.Found, err error) error {
	word := "ok"
	switch {
	case errors.Is(err, errSkipped):
		word = "skipped"
	case errors.Is(err, repository.ErrOnHold):
		word = "on hold"
	case errors.Is(err, cyrus.ErrLocked):
		word = "locked"
	case err != nil:
		word = fmt.Sprintf("failed (%v)", err)
	}
	if !c.structured() {
		_, err := cli.Fprintf(c.out, "%s %s: %s\n", verb, label(f), word)
		return err
	}
	return c.object(struct {
		Command string `json:"command"`
		UserID  string `json:"userid,omitempty"`
		Path    string `json:"fname"`
		Status  string `json:"status"`
	}{verb, userID(f), place(f), word})
}

// inPlace rejects a backup that was set aside, for commands that change backups.
func inPlace(verb string, f *repository.Found) error {
	if f.Aside == "" {
		return nil
	}
	return fmt.Errorf("%s was set aside: list, verify, export and restore work on it, %s does not", f.Aside, verb)
}
