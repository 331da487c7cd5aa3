package backupd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// mostMemory is the limit for the daemon with its default settings.
const mostMemory = 256 << 20

// The test measures the program as installed, built without the race detector.
func TestMemoryIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("sends hundreds of megabytes")
	}
	bin := buildPrograms(t)
	for _, c := range []struct {
		name, users, source string
		enough              int64 // bytes in the bucket; 0: to its end
	}{
		{"a large mailbox", "1", "gen:20000:5k", 0},
		// Stop before their end: by then every buffer was in use many times.
		{"many large messages", "64", "gen:1:50M", 400 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			addr, pid := h.startReal(bin)
			push(t, bin, addr, c.users, c.source, h.path("store"), c.enough)
			checkPeak(t, pid)
		})
	}
}

// buildPrograms builds backupd and backup_replay and returns their directory.
func buildPrograms(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "github.com/cyrusbackup/backupd/cmd/backupd", "github.com/cyrusbackup/backupd/cmd/backup_replay")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// startReal runs a built backupd.
func (h *host) startReal(bin string) (addr string, pid int) {
	h.t.Helper()
	h.configure("admins: repl\nallowplaintext: yes\nsasl_mech_list: PLAIN")
	program, err := os.ReadFile(filepath.Join(bin, "backupd"))
	if err == nil {
		err = os.WriteFile(h.path("real"), program, 0o755)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	socket := h.service(1)
	child := socket.Start(h.path("real"), "-C", h.path("imapd.conf"), "-N")
	return socket.Addr(), child.PID
}

func checkPeak(t *testing.T, pid int) {
	t.Helper()
	if peak := peakOf(t, pid); peak > mostMemory {
		t.Errorf("peak memory is %d MiB, want at most %d", peak>>20, mostMemory>>20)
	} else {
		t.Logf("%d MiB", peak>>20)
	}
}

// push runs backup_replay until there is enough in the bucket, or to its end.
func push(t *testing.T, bin, addr, users, source, bucket string, enough int64) {
	t.Helper()
	ctx, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	if enough > 0 {
		go func() {
			for ctx.Err() == nil {
				if stored(bucket) >= enough {
					stop(errEnough)
				}
				time.Sleep(200 * time.Millisecond)
			}
		}()
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "backup_replay"), "--server", addr,
		"--auth", "repl", "--mech", "PLAIN", "--users", users, "--connections", users, source)
	cmd.Env = append(os.Environ(), "BACKUP_REPLAY_PASSWORD=any")
	out, err := cmd.CombinedOutput()
	if errors.Is(context.Cause(ctx), errEnough) {
		return // the server may have removed temporary files that were counted
	}
	if err != nil {
		t.Fatalf("backup_replay: %v\n%s", err, out)
	}
	if n := stored(bucket); n < enough {
		t.Fatalf("only %d MiB came to the bucket", n>>20)
	}
}

var errEnough = errors.New("enough was stored")

// stored returns the size of the files in a directory.
func stored(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // it may be removed, or not exist yet
		}
		if i, err := d.Info(); err == nil {
			n += i.Size()
		}
		return nil
	})
	return n
}

// peakOf returns the peak memory of a process.
func peakOf(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	line, _, _ := strings.Cut(rest, "kB")
	kib, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
