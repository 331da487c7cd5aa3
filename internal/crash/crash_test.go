package crash_test

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/internal/crash"
)

const (
	endVariable = "CRASH_TEST_END" // how the test binary ends
	dirVariable = "CRASH_TEST_DIR"
)

func TestMain(m *testing.M) {
	end := os.Getenv(endVariable)
	if end == "" {
		os.Exit(m.Run())
	}
	r, err := crash.Watch(os.Getenv(dirVariable), slog.New(slog.DiscardHandler))
	if err != nil {
		panic(err)
	}
	switch end {
	case "panic":
		go panic("not recovered")
		time.Sleep(time.Minute)
	case "map":
		m := map[int]int{}
		for range 8 {
			go func() {
				for i := 0; ; i++ {
					m[i%10] = i
				}
			}()
		}
		time.Sleep(time.Minute)
	case "fault":
		sigbus()
	case "kill":
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	}
	if err := r.Close(); err != nil {
		panic(err)
	}
}

// sigbus writes to a mapped page beyond the end of the file.
func sigbus() {
	f, err := os.CreateTemp("", "crash")
	if err != nil {
		panic(err)
	}
	os.Remove(f.Name())
	if err := f.Truncate(4096); err != nil {
		panic(err)
	}
	page, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	if err := f.Truncate(0); err != nil {
		panic(err)
	}
	page[0] = 1
}

func TestCrashesAreReported(t *testing.T) {
	for end, want := range map[string]string{
		"panic": "panic: not recovered",
		"map":   "maps.fatal",
		"fault": "signal SIGBUS",
		"kill":  "",
		"exit":  "",
	} {
		t.Run(end, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "crash")
			child := exec.CommandContext(t.Context(), os.Args[0])
			child.Env = append(os.Environ(), endVariable+"="+end, dirVariable+"="+dir)
			if err := child.Run(); (err == nil) != (end == "exit") {
				t.Fatalf("ended with %v", err)
			}
			said := reportOf(t, dir)
			if !strings.Contains(said, want) || (said == "") != (want == "") {
				t.Errorf("%q, want %q", said, want)
			}
			if strings.Count(said, "\n") > 1 || len(said) > 16<<10 {
				t.Errorf("the report has %d bytes:\n%s", len(said), said)
			}
			full, err := os.ReadFile(filepath.Join(dir, "last"))
			if (err == nil) != (want != "") || !strings.Contains(string(full), want) {
				t.Errorf("last report: %.200s, %v", full, err)
			}
			if again := reportOf(t, dir); again != "" {
				t.Errorf("reported twice: %s", again)
			}
		})
	}
}

// reportOf returns what a starting process reports about earlier ones.
func reportOf(t *testing.T, dir string) string {
	t.Helper()
	var said bytes.Buffer
	r, err := crash.Watch(dir, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return said.String()
}

// A running process is not reported as crashed.
func TestRunningProcessIsNotReported(t *testing.T) {
	dir := t.TempDir()
	r, err := crash.Watch(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var said bytes.Buffer
	other := exec.CommandContext(t.Context(), os.Args[0])
	other.Env = append(os.Environ(), endVariable+"=exit", dirVariable+"="+dir)
	other.Stderr = &said
	if err := other.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v: want the file of this process", entries, err)
	}
}
