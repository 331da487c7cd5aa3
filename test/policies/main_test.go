// Package policies applies the policies of docs/policies to a real MinIO, and runs the real programs
// with keys that have no other rights.
package policies

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cyrusbackup/backupd/test/programs"
)

const root = "../.."

const binEnv = "POLICIES_BIN" // the directory with the programs

// In the programs of this test, days pass within seconds: erased mail is removed after hours.
func TestMain(m *testing.M) {
	os.Exit(programs.Run(m.Run, binEnv, root, link, "-tags", "lapse", "-ldflags=-s -w", "./cmd/backup-programs"))
}

// link gives the program its names.
func link(dir string) error {
	for _, name := range []string{"backupd", "backup_replay", "ctl_backups", "cyr_backup", "restore"} {
		if err := os.Symlink("backup-programs", filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
