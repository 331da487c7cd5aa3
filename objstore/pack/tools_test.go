package pack

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Without this software the mail can be read with zstd and tar (Debian packages zstd and
// tar).
func TestZstdAndTar(t *testing.T) {
	guid := func(i int) string { return fmt.Sprintf("%040x.eml", i) }
	files := []file{
		{"commit.ndjson", text(1, 3000)},
		{"places.ndjson", nil},
		{guid(1), text(2, 100_000)},
		{guid(2), text(3, 512)},
		{guid(3), text(4, 9<<20+5)},
		{guid(4), text(5, 300<<10)},
		{"0000000000000007/commit.ndjson", text(6, 10)},
		{"0000000000000007/" + guid(5), text(7, 4<<20)},
	}
	obj, _ := build(t, Options{}, files)
	dir := t.TempDir()
	path := filepath.Join(dir, "object.tar.zst")
	if err := os.WriteFile(path, obj, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("zstd", "-q", "-t", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("zstd -t: %v: %s", err, out)
	}
	var want strings.Builder
	for _, f := range files {
		fmt.Fprintln(&want, f.name)
	}
	if got := shell(t, `zstd -dc "$1" | tar -tf -`, path); got != want.String() {
		t.Errorf("tar -t lists\n%swant\n%s", got, want.String())
	}
	if got := shell(t, `cd "$2" && zstd -dc "$1" | tar -xf -`, path, dir); got != "" {
		t.Errorf("tar -x printed %s", got)
	}
	for _, f := range files {
		got, err := os.ReadFile(filepath.Join(dir, f.name))
		if err != nil || !bytes.Equal(got, f.body) {
			t.Errorf("%s: %d bytes of %d, %v", f.name, len(got), len(f.body), err)
		}
	}
}

// shell runs a line of shell and returns all its output.
func shell(t *testing.T, line string, args ...string) string {
	t.Helper()
	cmd := exec.Command("bash", append([]string{"-o", "pipefail", "-c", line, "bash"}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return string(out)
}
