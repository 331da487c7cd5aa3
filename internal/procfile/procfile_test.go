package procfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cyrusbackup/backupd/internal/procfile"
)

func TestOneLinePerProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run", "proc")
	f, err := procfile.New(dir, 4711, "backupd")
	if err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		do   func() error
		want string
	}{
		{func() error { return nil }, "backupd\t\t\t\tidle\n"},
		{func() error { return f.Set("a", procfile.Session{Host: "[192.0.2.1]"}) }, "backupd\t[192.0.2.1]\t\t\t1 session\n"},
		{func() error { return f.Set("a", procfile.Session{Host: "[192.0.2.1]", User: "repl"}) }, "backupd\t[192.0.2.1]\trepl\t\t1 session\n"},
		{func() error { return f.Set("b", procfile.Session{Host: "[192.0.2.2]", User: "repl"}) }, "backupd\t\trepl\t\t2 sessions\n"},
		{func() error { return f.Set("b", procfile.Session{Host: "[192.0.2.2]", User: "x\ty\n"}) }, "backupd\t\t\t\t2 sessions\n"},
		{func() error { return f.End("a") }, "backupd\t[192.0.2.2]\tx?y?\t\t1 session\n"},
		{func() error { return f.End("b") }, "backupd\t\t\t\tidle\n"},
	}
	for i, s := range steps {
		if err := s.do(); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "4711"))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != s.want {
			t.Errorf("step %d: %q, want %q", i, got, s.want)
		}
	}
}

func TestRemoveIsFinal(t *testing.T) {
	dir := t.TempDir()
	f, err := procfile.New(dir, 4711, "backupd")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Set("a", procfile.Session{}); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 0 {
		t.Errorf("not removed: %v, %v", names, err)
	}
}
