package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInstallNeedsNoGo installs programs that are built, on a host without Go, twice. A running
// program keeps its file: the new one is another file of the same name.
func TestInstallNeedsNoGo(t *testing.T) {
	tree, root := t.TempDir(), t.TempDir()
	for _, link := range []string{"Makefile", "docs", "build"} {
		to, err := filepath.Abs(filepath.Join("..", link))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, filepath.Join(tree, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(tree, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	programs := []string{"backupd", "ctl_backups", "cyr_backup", "restore", "backup_replay"}
	for _, p := range programs {
		if err := os.WriteFile(filepath.Join(tree, "bin", p), []byte("#!/bin/sh\necho \"$0 $*\"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	install := func() {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "make", "-s", "install", "GO=/nonexistent/go", "DESTDIR="+root, "PREFIX=/usr")
		cmd.Dir = tree
		cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make install: %v\n%s", err, out)
		}
	}
	install()
	for _, p := range programs {
		for file, want := range map[string]string{
			"usr/sbin/" + p: "echo",
			"usr/share/bash-completion/completions/" + p:         "--completion bash",
			"usr/share/zsh/site-functions/_" + p:                 "--completion zsh",
			"usr/share/fish/vendor_completions.d/" + p + ".fish": "--completion fish",
		} {
			if text, err := os.ReadFile(filepath.Join(root, file)); err != nil || !strings.Contains(string(text), want) {
				t.Errorf("%s: %v, %q", file, err, text)
			}
		}
	}
	if pages, err := filepath.Glob(filepath.Join(root, "usr/share/man/man[1578]/*.[1578]")); err != nil || len(pages) != 7 {
		t.Errorf("%v, pages %v", err, pages)
	}
	running, err := os.Stat(filepath.Join(root, "usr/sbin/backupd"))
	if err != nil {
		t.Fatal(err)
	}
	open, err := os.OpenFile(filepath.Join(root, "usr/sbin/backupd"), os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close() // keeps the inode in use
	install()
	now, err := os.Stat(filepath.Join(root, "usr/sbin/backupd"))
	if err != nil {
		t.Fatal(err)
	}
	if os.SameFile(running, now) {
		t.Error("the file of a running program was written to")
	}
	if files, err := os.ReadDir(filepath.Join(root, "usr/sbin")); err != nil || len(files) != len(programs) {
		t.Errorf("%v, files %v", err, files)
	}
}
