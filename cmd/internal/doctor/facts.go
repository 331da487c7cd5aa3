package doctor

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Facts are what only root may see, or what another process knows. The process that collects them is
// not always the process that uses them.
type Facts struct {
	Source string   `json:"source,omitempty"` // of the environment: a process, or a file; "" = this shell
	Env    []string `json:"-"`                // the environment of the daemon
	Shell  []string `json:"shell,omitempty"`  // names of variables with keys in the shell
	User   string   `json:"user,omitempty"`   // that the daemon runs as; "" = as imapd.conf says
	Daemon int      `json:"daemon,omitempty"` // the process of a running backupd
	Files  int      `json:"files,omitempty"`  // file descriptors that it may open
	Memory int64    `json:"memory,omitempty"` // of the host, in bytes
	Jobs   []Job    `json:"jobs,omitempty"`   // of cron
}

// Sources are where Gather looks.
type Sources struct {
	Proc    string   // /proc
	Default string   // /etc/default/cyrus-imapd
	Shell   []string // os.Environ
	Cron    []string // patterns of cron's files: CronFiles
}

// Gather collects the facts about this host.
func Gather(s Sources) Facts {
	f := Facts{Memory: memoryOf(s.Proc), Jobs: jobs(s.Cron)}
	for _, kv := range s.Shell {
		if name, value, _ := strings.Cut(kv, "="); hasKeys(name) && value != "" {
			f.Shell = append(f.Shell, name)
		}
	}
	slices.Sort(f.Shell)
	daemon, master := processes(s.Proc)
	f.Daemon = daemon
	for _, p := range []struct {
		name string
		pid  int
	}{{"backupd", daemon}, {"master", master}} {
		if p.pid == 0 {
			continue
		}
		f.Files = max(f.Files, limitOf(s.Proc, p.pid))
		if env, err := os.ReadFile(filepath.Join(s.Proc, strconv.Itoa(p.pid), "environ")); err == nil && f.Source == "" {
			f.Source, f.Env = "process "+strconv.Itoa(p.pid)+" ("+p.name+")", strings.FieldsFunc(string(env), func(r rune) bool { return r == 0 })
		}
	}
	if daemon == 0 {
		f.Files = 0 // master raises its own limit for each service
	}
	if env, err := os.ReadFile(s.Default); f.Source == "" && err == nil {
		f.Source, f.Env = s.Default, append(assignments(env), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	return f
}

// hasKeys reports whether a variable is about the keys of buckets.
func hasKeys(name string) bool {
	return strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "MINIO_")
}

// inShell reports whether the shell has a variable. In the environment of the shell itself it does.
func (f Facts) inShell(name string) bool { return f.Source == "" || slices.Contains(f.Shell, name) }

// onlyInShell returns the variables with keys that this process does not have.
func (f Facts) onlyInShell() (names []string) {
	for _, name := range f.Shell {
		if os.Getenv(name) == "" && f.Source != "" {
			names = append(names, name)
		}
	}
	return names
}

// processes finds a backupd that master has started, and master.
func processes(proc string) (daemon, master int) {
	dirs, err := os.ReadDir(proc)
	if err != nil {
		return 0, 0
	}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		name, err := os.ReadFile(filepath.Join(proc, d.Name(), "comm"))
		if err != nil {
			continue
		}
		switch strings.TrimSpace(string(name)) {
		case "backupd":
			daemon = pid
		case "cyrmaster":
			master = pid
		case "master": // Postfix has one, too
			if line, err := os.ReadFile(filepath.Join(proc, d.Name(), "cmdline")); err == nil && bytes.Contains(line, []byte("cyrus")) {
				master = pid
			}
		}
	}
	return daemon, master
}

// limitOf returns how many files a process may open; 0 = unknown.
func limitOf(proc string, pid int) int {
	b, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "limits"))
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "Max open files"); ok && rest != "" {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err == nil {
				return n
			}
		}
	}
	return 0
}

// memoryOf returns the memory of the host; 0 = unknown.
func memoryOf(proc string) int64 {
	b, err := os.ReadFile(filepath.Join(proc, "meminfo"))
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) > 1 && words[0] == "MemTotal:" {
			n, err := strconv.ParseInt(words[1], 10, 64)
			if err == nil {
				return n << 10
			}
		}
	}
	return 0
}

// assignments reads a file of variables for a unit of systemd or an init script.
func assignments(text []byte) (env []string) {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := strings.TrimPrefix(strings.TrimSpace(lines.Text()), "export ")
		name, value, ok := strings.Cut(line, "=")
		if ok && !strings.HasPrefix(line, "#") && !strings.ContainsAny(name, " \t") {
			env = append(env, name+"="+strings.Trim(value, `"'`))
		}
	}
	return env
}
