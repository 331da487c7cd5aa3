package restore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// journalDir returns the directory of the journal of messages sent to an IMAP account. The
// journal is optional: without it a restore compares bytes.
func (j *job) journalDir() string {
	dir, err := j.journal, error(nil)
	if dir == "" {
		dir, err = stateDir(os.Getenv("XDG_STATE_HOME"), os.Getenv("HOME"))
	}
	if err == nil && !j.dryRun {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		fmt.Fprintf(j.std.err, "restore: warning: cannot keep a journal of sent messages, so the next run must compare with the server: %v (--journal DIR)\n", err)
		return ""
	}
	return dir
}

// stateDir returns the directory for state files in the XDG Base Directory Specification.
func stateDir(xdg, home string) (string, error) {
	switch {
	case filepath.IsAbs(xdg):
		return filepath.Join(xdg, "backupd"), nil
	case home != "":
		return filepath.Join(home, ".local/state/backupd"), nil
	}
	return "", errors.New("neither XDG_STATE_HOME nor HOME is set")
}
