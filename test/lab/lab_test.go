// Package lab tests the scripts of this directory.
package lab

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"
)

// The scripts start programs in other directories, so a relative path must become absolute.
func TestRelativePaths(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip(err)
	}
	const script = `import json, run
print(json.dumps(vars(run.options(["--bin", "b", "--out", "o", "--work", "w", "--minio", ".cache/bin/minio"]))))`
	cmd := exec.CommandContext(t.Context(), python, "-B", "-c", script)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var options map[string]any
	if err := json.Unmarshal(out, &options); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bin", "out", "work", "minio"} {
		if p, _ := options[name].(string); !filepath.IsAbs(p) {
			t.Errorf("--%s is %q", name, p)
		}
	}
}
