package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// days is a clock that is set forward, for this program, for a program that is built for tests
// (cmd/internal/clock), and for the objects that both put.
type days struct {
	file  string
	lines []byte
	by    time.Duration
}

func newDays(dir string) (*days, error) {
	d := &days{file: filepath.Join(dir, "days")}
	return d, os.WriteFile(d.file, nil, 0o644)
}

// now returns the time after the days that have passed.
func (d *days) now() time.Time { return time.Now().Add(d.by).UTC() }

// pass sets the clock forward, at the next whole second: a store states its time in seconds.
func (d *days) pass(n int) error {
	return d.passAt(time.Now().Truncate(time.Second).Add(time.Second), n)
}

// passNow sets the clock forward at once. The store states the times of objects more exactly in its
// lists than elsewhere.
func (d *days) passNow(n int) error {
	return d.passAt(time.Now(), n)
}

func (d *days) passAt(at time.Time, n int) error {
	d.lines = fmt.Appendf(d.lines, "%.6f %d\n", float64(at.UnixMicro())/1e6, n*86400)
	d.by += time.Duration(n) * 24 * time.Hour
	if err := os.WriteFile(d.file, d.lines, 0o644); err != nil {
		return err
	}
	time.Sleep(time.Until(at) + 10*time.Millisecond)
	return nil
}

// programsAtDays builds our programs with the clock for tests, and returns their directory.
func (l *lab) programsAtDays() (dir string, err error) {
	dir = filepath.Join(l.dir, "lapse")
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	out, err := exec.Command("go", "build", "-tags", "lapse", "-o", dir+"/", "./cmd/...").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build programs for tests: %w: %s", err, tail(string(out)))
	}
	return dir, nil
}

// atDays returns the command line of a program built for tests.
func (s *server) atDays(d *days, program string, args ...string) *exec.Cmd {
	cmd := s.foreign(program, append([]string{"-C", s.conf}, args...)...)
	cmd.Env = append(cmd.Env, "LAPSE_FILE="+d.file)
	return cmd
}
