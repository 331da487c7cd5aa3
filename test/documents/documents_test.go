// Package documents types the command lines of README.md, the documents of an administrator and the runbook into hosts
// with a real Cyrus and a real MinIO.
package documents

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestCommandLines runs run.py: each line works, and each line of the documents is in the test. The
// hosts are this machine below an overlay, so it needs root, and the packages of "make deps minio".
func TestCommandLines(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real Cyrus")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	minio := os.Getenv("MINIO_BIN")
	if minio == "" {
		minio = filepath.Join(root, ".cache/bin/minio")
	}
	bin := t.TempDir()
	if os.Geteuid() != 0 {
		t.Fatal("namespaces need root: run this as root")
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/",
		"./cmd/backupd", "./cmd/ctl_backups", "./cmd/cyr_backup", "./cmd/restore", "./cmd/backup_replay")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	args := []string{"-B", "run.py", "--bin", bin, "--minio", minio}
	if os.Getenv("DOCUMENTS_LONG") != "" { // make soak
		args = append(args, "--long")
	}
	out, err := exec.CommandContext(t.Context(), "python3", args...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
