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

// structured says that output is for programs.
func (c *command) structured() bool { return c.json || c.ndjson }

// object writes one JSON object: over several lines as the original, or in one; and, as
// the original, without escapes that JSON does not demand.
func (c *command) object(v any) error {
	enc := json.NewEncoder(c.out)
	enc.SetEscapeHTML(false)
	if !c.ndjson {
		enc.SetIndent("", "  ")
	}
	return enc.Encode(v)
}

// size is a number of bytes, for a person with -h.
func (c *command) size(n int64) string {
	if c.human && n >= 0 {
		return humanize.Bytes(uint64(n))
	}
	return fmt.Sprint(n)
}

// label names a backup in output: the userid, or what it is for.
func label(f *repository.Found) string {
	if f.Info.Kind == repository.KindUser && f.Aside == "" && f.Name().Path() == f.Path {
		return f.Info.Name
	}
	return f.Where()
}

// userID is the user whose backup it is; "" = it is no user's, or was set aside.
func userID(f *repository.Found) string {
	if f.Info.Kind == repository.KindUser && f.Aside == "" {
		return f.Info.Name
	}
	return ""
}

// place says where a backup lies.
func place(f *repository.Found) string { return f.Partition.Name + ":" + f.Where() }

// status prints what came of a command for one backup, as the original does.
func (c *command) status(verb string, f *repository.Found, err error) error {
	word := "ok"
	switch {
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

// inPlace refuses a backup that was set aside, for a command that changes something.
func inPlace(verb string, f *repository.Found) error {
	if f.Aside == "" {
		return nil
	}
	return fmt.Errorf("%s was set aside: list, verify, export and restore work on it, %s does not", f.Aside, verb)
}
