package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Job is a line of cron that runs ctl_backups compact.
type Job struct {
	Where string   `json:"where"` // file:line
	Args  []string `json:"args"`  // of ctl_backups, and the rest of the line
}

// mostJobs is how many Jobs Facts have at most.
const mostJobs = 20

// CronFiles are the patterns of the files that cron reads (cron(8), run-parts(8)).
func CronFiles() []string {
	return []string{"/etc/crontab", "/etc/cron.d/*", "/etc/cron.hourly/*", "/etc/cron.daily/*", "/etc/cron.weekly/*", "/var/spool/cron/crontabs/*"}
}

// jobs finds the lines that compact. A file that cannot be read has none.
func jobs(patterns []string) (out []Job) {
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			continue // a bad pattern
		}
		for _, file := range files {
			if ignoredByCron(file) {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				continue
			}
			for i, line := range strings.Split(string(text), "\n") {
				if args, ok := compactIn(line); ok && len(out) < mostJobs {
					out = append(out, Job{fmt.Sprintf("%s:%d", file, i+1), args})
				}
			}
		}
	}
	return out
}

// ignoredByCron reports whether cron or run-parts ignore a file: its name has a dot, as dpkg and editors
// make them, or run-parts cannot execute it.
func ignoredByCron(file string) bool {
	dir := filepath.Base(filepath.Dir(file))
	if !strings.HasPrefix(dir, "cron.") {
		return false
	}
	if strings.ContainsAny(filepath.Base(file), ".~") {
		return true
	}
	info, err := os.Stat(file)
	return err != nil || dir != "cron.d" && info.Mode()&0o111 == 0
}

// compactIn returns the arguments of ctl_backups in a command line that compacts.
func compactIn(line string) (args []string, ok bool) {
	words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\"';&|()", r) })
	i := slices.IndexFunc(words, func(w string) bool { return filepath.Base(w) == "ctl_backups" })
	if i < 0 || strings.HasPrefix(strings.TrimSpace(line), "#") {
		return nil, false
	}
	return words[i+1:], compacts(words[i+1:])
}
