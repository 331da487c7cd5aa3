package ctlbackups

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

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
		return binary(n)
	}
	return fmt.Sprint(n)
}

// binary formats a size for people, in units of powers of 1024, such as MiB.
func binary(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// objects formats a number of objects, or of other things whose plural ends with s, for people.
func objects(n int64, thing string) string { return english.Plural(int(n), thing, "") }

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
	word, reason := statusOf(err)
	if !c.structured() {
		if word == "failed" {
			word += " (" + reason + ")"
		}
		_, err := cli.Fprintf(c.out, "%s %s: %s\n", verb, label(f), word)
		return err
	}
	return c.object(struct {
		Command string `json:"command"`
		UserID  string `json:"userid,omitempty"`
		Path    string `json:"fname"`
		Status  string `json:"status"`
		Reason  string `json:"reason,omitempty"`
	}{verb, userID(f), place(f), word, reason})
}

// statusOf returns the word for a result, and its reason.
func statusOf(err error) (word, reason string) {
	switch {
	case err == nil:
		return "ok", ""
	case errors.Is(err, errSkipped):
		return "skipped", ""
	case errors.Is(err, repository.ErrOnHold):
		_, holds, _ := strings.Cut(err.Error(), repository.ErrOnHold.Error()+": ")
		return "on hold", holds
	case errors.Is(err, cyrus.ErrLocked):
		return "locked", err.Error()
	}
	return "failed", err.Error()
}

// inPlace rejects a backup that was set aside, for commands that change backups.
func inPlace(verb string, f *repository.Found) error {
	if f.Aside == "" {
		return nil
	}
	return fmt.Errorf("%s was set aside: list, verify, export and restore work on it, %s does not", f.Aside, verb)
}
