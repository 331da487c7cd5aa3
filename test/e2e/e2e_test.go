// Package e2e runs our backupd under a real Cyrus master with mail from a real Cyrus sync_client, on
// every kind of store. It runs the scenarios of test/lab.
package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Three scenarios run at once: each consists of several processes that mostly wait.
const atOnce = 3

const root = "../.."

type scenario struct {
	Name   string   `json:"name"`
	Stores []string `json:"stores"`
	Usual  []string `json:"usual"` // those of CI
	About  string   `json:"about"`
}

// stores returns the stores to run the scenario on: with E2E_ALL, as in "make soak", every store.
func (s *scenario) stores() []string {
	if os.Getenv("E2E_ALL") != "" {
		return s.Stores
	}
	return s.Usual
}

type result struct {
	Scenario string   `json:"scenario"`
	Failures []string `json:"failures"`
	Seconds  float64  `json:"seconds"`
}

// needed reports missing programs; "make deps minio" installs them.
func needed() error {
	var missing []string
	for _, p := range []string{"python3", "openssl", "unshare", "/usr/sbin/saslpasswd2",
		"/usr/lib/cyrus/bin/master", "/usr/lib/cyrus/bin/imapd", "/usr/lib/cyrus/bin/sync_client"} {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	if _, err := minio(); err != nil {
		missing = append(missing, "minio")
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing: %s; install with: make deps minio", strings.Join(missing, ", "))
	}
	if os.Geteuid() != 0 {
		return errors.New("Cyrus's master changes its user: run this as root")
	}
	return nil
}

func minio() (string, error) {
	if p := os.Getenv("MINIO_BIN"); p != "" {
		return exec.LookPath(p)
	}
	p, err := filepath.Abs(filepath.Join(root, ".cache/bin/minio"))
	if err != nil {
		return "", err
	}
	if p, err = exec.LookPath(p); err != nil {
		return exec.LookPath("minio")
	}
	return p, nil
}

func TestScenarios(t *testing.T) {
	if err := needed(); err != nil {
		t.Fatal(err)
	}
	server, err := minio()
	if err != nil {
		t.Fatal(err)
	}
	bin := build(t)
	// Short paths, because Cyrus creates UNIX sockets there; its user needs access.
	work, err := os.MkdirTemp("/tmp", "e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(work); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(work, 0o755); err != nil {
		t.Fatal(err)
	}
	if string(bytes.TrimSpace(lab(t, "cyrus-lab", "sink", "start"))) == "started" {
		t.Cleanup(func() { lab(t, "cyrus-lab", "sink", "stop") })
	}

	var scenarios []scenario
	if err := json.Unmarshal(lab(t, "run.py", "--list"), &scenarios); err != nil {
		t.Fatal(err)
	}
	slots := make(chan struct{}, atOnce)
	for _, store := range []string{"dir", "minio"} {
		for _, s := range scenarios {
			if !slices.Contains(s.stores(), store) {
				continue
			}
			t.Run(store+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				out := filepath.Join(work, "out-"+store+"-"+s.Name)
				cmd := exec.CommandContext(t.Context(), "python3", filepath.Join(root, "test/lab/run.py"),
					"--bin", bin, "--minio", server, "--store", store, "--work", work, "--out", out, s.Name)
				said, err := cmd.CombinedOutput()
				report(t, filepath.Join(out, "results-"+store+".json"), said, err)
			})
		}
	}
}

// report converts the runner's result to that of the test.
func report(t *testing.T, file string, said []byte, runErr error) {
	t.Helper()
	var results []result
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &results)
	}
	if err != nil || len(results) != 1 {
		t.Fatalf("no result: %v, %v\n%s", runErr, err, said)
	}
	for _, f := range results[0].Failures {
		t.Error(f)
	}
	if runErr != nil || t.Failed() {
		t.Errorf("%v; the run:\n%s", runErr, said)
		logs(t, filepath.Dir(file))
		return
	}
	t.Logf("%.1f s\n%s", results[0].Seconds, said)
}

// logs prints the logs of backupd and master after a failed scenario.
func logs(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"syslog", "master.out"} {
		files, err := filepath.Glob(filepath.Join(dir, "*", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Error(err)
			}
			lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
			lines = slices.DeleteFunc(lines, func(l []byte) bool {
				return name == "syslog" && !bytes.Contains(l, []byte("-backup/"))
			})
			t.Logf("%s:\n%s", name, bytes.Join(lines[max(0, len(lines)-40):], []byte("\n")))
		}
	}
}

// build builds the programs once: backupd with the race detector if this test has it. The tools are
// built without, because they run hundreds of times and a race build takes a second to start.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	server := []string{"build", "-o", dir + "/"}
	if raceEnabled {
		server = append(server, "-race")
	}
	for _, args := range [][]string{
		append(server, "./cmd/backupd"),
		{"build", "-o", dir + "/", "./cmd/cyr_backup", "./cmd/ctl_backups", "./cmd/restore", "./cmd/backup_replay"},
		// for scenarios in which days pass
		{"build", "-tags", "lapse", "-o", dir + "/lapse/", "./cmd/backupd", "./cmd/cyr_backup", "./cmd/ctl_backups"},
	} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return dir
}

func lab(t *testing.T, tool string, args ...string) []byte {
	t.Helper()
	var complaint bytes.Buffer
	// not t.Context(): clean-ups run after it has ended
	cmd := exec.Command("python3", append([]string{filepath.Join(root, "test/lab", tool)}, args...)...)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", tool, strings.Join(args, " "), err, complaint.Bytes())
	}
	return out
}
