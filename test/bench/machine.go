package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// machineFacts describes the run for the reader: date, revision, machine and versions, but no
// name of a host or path.
func machineFacts() string {
	kernel := first("uname", "-r")
	revision := first("git", "describe", "--always", "--dirty", "--exclude=*")
	if f := strings.SplitN(kernel, "-", 2); len(f) > 0 {
		kernel = f[0]
	}
	facts := []string{
		time.Now().UTC().Format(time.DateOnly), "revision " + revision,
		fmt.Sprintf("%d × %s", runtime.NumCPU(), cpuModel()), ramSize(),
		"Linux " + kernel, runtime.Version(),
	}
	for _, p := range []string{"cyrus-common", "restic", "borgbackup"} {
		if v := first("dpkg-query", "-W", "-f", "${Version}", p); v != "" {
			facts = append(facts, p+" "+v)
		}
	}
	return strings.Join(facts, "; ") + "."
}

// first returns the first line that a program prints, empty if it fails.
func first(program string, args ...string) string {
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	if m := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(b); m != nil {
		return string(m[1])
	}
	return runtime.GOARCH
}

func ramSize() string {
	kib, err := field("/proc/meminfo", "MemTotal:")
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%.0f GiB", kib/(1<<20))
}
