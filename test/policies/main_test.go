// Package policies applies the policies of docs/policies to a real MinIO, and runs the real programs
// with keys that have no other rights.
package policies

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const root = "../.."

const binEnv = "POLICIES_BIN" // the directory with the programs

// In the programs of this test, days pass within seconds: erased mail is removed after hours.
func TestMain(m *testing.M) {
	status, err := withPrograms(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

func withPrograms(run func() int) (status int, err error) {
	dir, err := os.MkdirTemp("", "policies-bin-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, err
	}
	cmd := exec.Command("go", "build", "-tags", "lapse", "-ldflags=-s -w", "-o", dir+"/", "./cmd/backup-programs")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("go build: %w\n%s", err, out)
	}
	for _, name := range []string{"backupd", "backup_replay", "ctl_backups", "cyr_backup", "restore"} {
		if err := os.Symlink("backup-programs", filepath.Join(dir, name)); err != nil {
			return 1, err
		}
	}
	if err := os.Setenv(binEnv, dir); err != nil {
		return 1, err
	}
	return run(), nil
}
