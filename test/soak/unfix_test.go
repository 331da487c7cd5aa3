// Package soak proves that the soak test of package partitions finds faults: with a fix removed
// from a copy of the source, the test fails.
package soak

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// unfix is a patch that removes one fix. The lines before its first "diff" describe it and how to
// run the soak test:
//
//	Without: the removed fix
//	Faults: events of the soak test, separated by commas
//	Steps: number of steps within which the test must fail
type unfix struct {
	path, without, faults, steps string
}

func readUnfix(t *testing.T, path string) (u unfix) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	u.path = path
	head, _, _ := strings.Cut(string(b), "\ndiff ")
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "Without":
			u.without = value
		case "Faults":
			u.faults = value
		case "Steps":
			u.steps = value
		}
	}
	if u.without == "" || u.faults == "" || u.steps == "" {
		t.Fatalf("%s has no Without, Faults or Steps: %+v", path, u)
	}
	return u
}

func unfixes(t *testing.T) (all []unfix) {
	t.Helper()
	paths, err := filepath.Glob("unfix/*.patch")
	if err != nil || len(paths) < 5 {
		t.Fatalf("%d patches, %v; want 5 at least", len(paths), err)
	}
	for _, p := range paths {
		all = append(all, readUnfix(t, p))
	}
	return all
}

func run(dir, name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	return string(out), err
}

// The patches must apply, so that the proof below can be run at any time.
func TestPatchesApply(t *testing.T) {
	for _, u := range unfixes(t) {
		path, err := filepath.Abs(u.path)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := run("../..", "git", "apply", "--check", "-C1", path); err != nil {
			t.Errorf("%s, without %s: %v\n%s", u.path, u.without, err, out)
		}
	}
}

// soakTest runs the soak test in a source tree.
func soakTest(dir string, u unfix) (string, error) {
	return run(dir, "go", "test", "-count=1", "-timeout=10m", "-run", "^TestSoak$", "./partitions",
		"-soak.seed=1", "-soak.steps="+u.steps, "-soak.only="+u.faults)
}

// The soak test fails without the fix and passes with it. make soak-proof runs this test, which
// takes minutes.
func TestSoakFailsWithoutTheFix(t *testing.T) {
	if os.Getenv("SOAK_PROOF") == "" {
		t.Skip("SOAK_PROOF is not set: see make soak-proof")
	}
	for _, u := range unfixes(t) {
		t.Run(strings.TrimSuffix(filepath.Base(u.path), ".patch"), func(t *testing.T) {
			dir := copyTree(t)
			if out, err := soakTest(dir, u); err != nil {
				t.Fatalf("the soak test fails with the fix: %v\n%s", err, tail(out))
			}
			path, err := filepath.Abs(u.path)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := run(dir, "git", "apply", "-C1", path); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if out, err := run(dir, "go", "vet", "./partitions"); err != nil {
				t.Fatalf("the patched source does not build: %v\n%s", err, out)
			}
			out, err := soakTest(dir, u)
			if err == nil {
				t.Fatalf("without %s the soak test passes %s steps", u.without, u.steps)
			}
			t.Logf("without %s:\n%s", u.without, failures(out))
		})
	}
}

// failures returns the lines with the failed seeds and the reasons.
func failures(out string) string {
	var found []string
	for line := range strings.Lines(out) {
		if strings.Contains(line, "soak_test.go") && strings.Contains(line, ", step ") {
			found = append(found, fmt.Sprintf("%.400s", strings.TrimSpace(line)))
		}
	}
	if len(found) == 0 {
		return "no seed failed, but the run did:\n" + tail(out)
	}
	return strings.Join(found, "\n")
}

func tail(out string) string { return out[max(0, len(out)-4000):] }

// copyTree copies the files that git tracks, with local changes.
func copyTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files, err := run("../..", "git", "ls-files", "-z")
	if err != nil {
		t.Fatalf("git ls-files: %v\n%s", err, files)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(files, "\x00"), "\x00") {
		b, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
