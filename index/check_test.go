package index

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Check reads an index that was closed, and changes nothing. It reports a damaged one.
func TestCheck(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	if err := Check(dir); err == nil {
		t.Error("a missing index was not reported")
	}
	x, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	killed := filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := Check(killed); err != nil {
		t.Errorf("an index of a killed process: %v", err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	before := filesIn(t, dir)
	if err := Check(dir); err != nil {
		t.Errorf("a good index: %v", err)
	}
	after := filesIn(t, dir)
	for name, size := range after {
		if before[name] != size {
			t.Errorf("%s: %d bytes, was %d", name, size, before[name])
		}
	}
	if len(after) != len(before) {
		t.Errorf("files %v, were %v", after, before)
	}
	if err := os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte("not a manifest"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Check(dir); err == nil {
		t.Error("a damaged index was not reported")
	}
}

func filesIn(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	err := filepath.WalkDir(filepath.Dir(dir), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err == nil {
			out[path] = info.Size() + 1
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
