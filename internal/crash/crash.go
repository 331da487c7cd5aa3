// Package crash saves the output of the Go runtime when it ends the process - an unrecovered panic,
// concurrent map writes, SIGBUS - and reports it at the next start. Without it the output is lost,
// because the standard error of a service is /dev/null.
package crash

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// room is allocated for each process, so that a crash on a full disk can be written.
	room = 64 << 10
	// most limits a report: the stacks of many sessions are long.
	most = 256 << 10
	// lastName is the file with the newest report.
	lastName = "last"
	// logged limits the stacks in the log, because syslog limits messages.
	logged = 6 << 10
)

// Report is the file for the last output of the runtime.
type Report struct {
	file *os.File // locked while the process runs
}

// Watch reports the processes that have crashed since the last call, in dir, and creates the file
// of this process there.
func Watch(dir string, log *slog.Logger) (*Report, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("watch for crashes: %w", err)
	}
	if err := reportAll(dir, log); err != nil {
		return nil, fmt.Errorf("report crashes: %w", err)
	}
	f, err := create(filepath.Join(dir, strconv.Itoa(os.Getpid())))
	if err != nil {
		return nil, fmt.Errorf("watch for crashes: %w", err)
	}
	if err := debug.SetCrashOutput(f, debug.CrashOptions{}); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Report{f}, nil
}

// Close removes the file after a normal end of the process.
func (r *Report) Close() error {
	return errors.Join(debug.SetCrashOutput(nil, debug.CrashOptions{}), os.Remove(r.file.Name()), r.file.Close())
}

// Stacks writes why this process ends, and what all its goroutines do. The next Watch reports it like a
// crash.
func (r *Report) Stacks(why string) error {
	stacks := make([]byte, most)
	stacks = stacks[:runtime.Stack(stacks, true)]
	_, err := fmt.Fprintf(r.file, "%s\n\n%s", why, stacks)
	return err
}

// create creates and locks the file. Before it is locked, another process may mistake it for the
// file of a dead process and remove it.
func create(path string) (*os.File, error) {
	for range 100 {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return nil, err
		}
		var st unix.Stat_t
		if err := errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_EX), unix.Fstat(int(f.Fd()), &st)); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if st.Nlink > 0 {
			// Without allocated space a report may be truncated, which must not prevent the start.
			_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, room)
			return f, nil
		}
		_ = f.Close()
	}
	return nil, fmt.Errorf("%s was removed repeatedly", path)
}

func reportAll(dir string, log *slog.Logger) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			errs = append(errs, report(dir, pid, log))
		}
	}
	return errors.Join(errs...)
}

// report logs the file of a dead process, stores it as the last report, and removes it.
func report(dir string, pid int, log *slog.Logger) error {
	path := filepath.Join(dir, strconv.Itoa(pid))
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // another process was faster
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil // it still runs
	}
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return nil // killed, or the host went down
	}
	last := filepath.Join(dir, lastName)
	first, stack := split(string(text))
	log.Error("an earlier process crashed, or did not end", "pid", pid, "at", modified(f),
		"err", first, "report", last, "stack", stack)
	return os.WriteFile(last, append(text, '\n'), 0o600)
}

// split returns the fault in one line, and as much of the stacks as fits in the log. A fatal error
// of the runtime begins with its stack; the report does not include its text.
func split(text string) (first, stack string) {
	first, stack, _ = strings.Cut(text, "\n\n")
	if strings.HasPrefix(first, "goroutine ") {
		first, stack = firstLines(first, 2), text
	}
	if len(stack) > logged {
		stack = stack[:logged]
	}
	return strings.ReplaceAll(first, "\n", "; "), stack
}

func modified(f *os.File) string {
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	return info.ModTime().UTC().Format(time.RFC3339)
}

func firstLines(text string, n int) string {
	lines := strings.SplitN(text, "\n", n+1)
	return strings.Join(lines[:min(n, len(lines))], "\n")
}
