package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cost is what one run of a program took.
type cost struct {
	wall, cpu float64 // seconds
	peak      float64 // MiB, VmHWM
	read      float64 // MB that the program read from files and sockets
	out       []byte
}

// timed runs a program and measures it. An error has the end of its output.
func timed(ctx context.Context, cmd *exec.Cmd) (c cost, err error) {
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return c, err
	}
	pid := cmd.Process.Pid
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	ended := make(chan struct{})
	watched := make(chan float64)
	go func() { watched <- watchPeak(pid, ended) }()
	// The process remains as a zombie, which still has its counters, until Wait.
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	c.wall = time.Since(start).Seconds()
	close(ended)
	c.peak = <-watched
	c.read = readOf(pid)
	err = cmd.Wait()
	if s := cmd.ProcessState; s != nil {
		c.cpu = (s.UserTime() + s.SystemTime()).Seconds()
	}
	c.out = out.Bytes()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, tail(out.String()+complaint.String()))
	}
	return c, err
}

// watchPeak reads the peak memory until the process has ended. ru_maxrss would include this
// program's own memory, from the time between fork and exec.
func watchPeak(pid int, ended <-chan struct{}) (mib float64) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if m, err := peakOf(pid); err == nil {
			mib = max(mib, m)
		}
		select {
		case <-ended:
			return mib
		case <-tick.C:
		}
	}
}

func tail(s string) string {
	const most = 1000
	if s = strings.TrimSpace(s); len(s) > most {
		s = "…" + s[len(s)-most:]
	}
	return s
}

// cpuOf returns seconds (proc(5): fields 14 and 15 of stat, in ticks of 1/100 s).
func cpuOf(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, err := strconv.ParseFloat(f[11], 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100, err
}

// peakOf returns VmHWM in MiB.
func peakOf(pid int) (float64, error) {
	kib, err := field(fmt.Sprintf("/proc/%d/status", pid), "VmHWM:")
	return kib / 1024, err
}

// readOf returns the MB that a process has read, 0 if the kernel does not count them.
func readOf(pid int) float64 {
	n, _ := field(fmt.Sprintf("/proc/%d/io", pid), "rchar:")
	return n / 1e6
}

// field returns a number of a file in /proc.
func field(file, key string) (float64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), key)
	f := strings.Fields(rest)
	if len(f) == 0 {
		return 0, fmt.Errorf("%s has no %s", file, key)
	}
	return strconv.ParseFloat(f[0], 64)
}
