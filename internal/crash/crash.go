// Package crash keeps what the Go runtime says when it ends the process - a panic that
// nobody recovers, concurrent map writes, SIGBUS - and reports it at the next start. A
// service's standard error is /dev/null.
package crash

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// room is allocated for each process: a crash for want of disk has its place.
	room = 64 << 10
	// most is what is kept of one report: the stacks of many sessions are long.
	most = 256 << 10
	// lastName is the file with the newest report in full.
	lastName = "last"
	// logged is what the log gets of the stacks; syslog takes no more.
	logged = 6 << 10
)

// Report is the file in which the runtime writes down the end of this process.
type Report struct {
	file *os.File // locked while the process runs
}

// Watch reports the processes that have crashed since the last call, in dir, and makes
// this process's own file there.
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

// Close removes the file: the process ends as it should.
func (r *Report) Close() error {
	return errors.Join(debug.SetCrashOutput(nil, debug.CrashOptions{}), os.Remove(r.file.Name()), r.file.Close())
}

// create makes the file and locks it. Another process may take it for a dead one's before
// it is locked, and remove it.
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
			// Without room set aside a report may be cut off: no reason not to start.
			_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, room)
			return f, nil
		}
		f.Close()
	}
	return nil, fmt.Errorf("%s is removed again and again", path)
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

// report logs what a dead process has left, keeps it as the last report, and removes its file.
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
	log.Error("a process before this one was ended by a fault in the program", "pid", pid, "at", modified(f),
		"err", first, "report", last, "stack", stack)
	return os.WriteFile(last, append(text, '\n'), 0o600)
}

// split is the fault in one line, and as much of the stacks as the log takes. What the
// runtime calls a fatal error begins with its stack: the words of it are not in the report.
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
