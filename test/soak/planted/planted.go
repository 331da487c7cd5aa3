// Package planted checks that tests find bugs: it runs them with a changed copy of a source file.
package planted

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Bug is a text that occurs once in a source file, the text in its place, and a test that fails with it.
type Bug struct {
	File string // relative to the package of the test
	Is   string
	Bug  string
	Test string
	Args []string // of the test
}

// Find runs the tests with each of the bugs. It takes minutes, so it does that only if SOAK_PROOF is set:
// see make soak-proof.
func Find(t *testing.T, bugs map[string]Bug) {
	t.Helper()
	for name, b := range bugs {
		t.Run(name, func(t *testing.T) {
			overlay := b.plant(t)
			if os.Getenv("SOAK_PROOF") == "" {
				return // the texts are there
			}
			args := []string{"test", "-count=1", "-short", "-overlay=" + overlay, "-run", "^" + b.Test + "$", "."}
			out, err := exec.CommandContext(t.Context(), "go", append(args, b.Args...)...).CombinedOutput()
			if err == nil {
				t.Fatalf("%s passes:\n%s", b.Test, out)
			}
			if !strings.Contains(string(out), "--- FAIL: "+b.Test) {
				t.Fatalf("%s does not run:\n%s", b.Test, out)
			}
		})
	}
}

// plant returns the file with the option -overlay of the go command.
func (b *Bug) plant(t *testing.T) string {
	t.Helper()
	source, err := os.ReadFile(b.File)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(source), b.Is) != 1 {
		t.Fatalf("%s does not have %q once", b.File, b.Is)
	}
	dir := t.TempDir()
	changed, overlay := filepath.Join(dir, filepath.Base(b.File)), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(source), b.Is, b.Bug, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	is, err := filepath.Abs(b.File)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {is: changed}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return overlay
}
