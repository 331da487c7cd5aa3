// Package completion tests the command line completion of our programs in real shells.
package completion

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// programs builds the programs, with an imapd.conf that names a directory with one backup.
func programs(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", dir+"/", "../../cmd/...").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	run := func(stdin string, argv ...string) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, argv[0]), argv[1:]...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	for name, text := range map[string]string{
		"imapd.conf":  "configdirectory: " + dir + "\nservername: backup1\nbackuppartition-default: " + dir + "/mail\nbackuppartition-far: minio://192.0.2.1:9000/bucket\n",
		"create.conf": "configdirectory: " + dir + "\nservername: backup1\nbackuppartition-default: " + dir + "/mail\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run("", "ctl_backups", "-C", "create.conf", "lock", "-c", "anne", "-x", "true")
	return dir
}

// shell describes how a shell completes. The script gets the program and the rest of its command
// line, and prints the possible last words. There is no keyboard: bash's script leaves the answer in
// a variable, zsh's passes it to functions.
type shell struct {
	name, needs, script string
}

func shells() []shell {
	return []shell{
		{"bash", "/usr/share/bash-completion/bash_completion", `
. /usr/share/bash-completion/bash_completion
compopt() { :; }
. <("$1" --completion bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_TYPE=9 COMP_KEY=9
COMP_POINT=${#COMP_LINE}
"__start_$1"
printf '%s\n' "${COMPREPLY[@]}"
# where there is nothing, and only there, "complete -o default" takes files
[ ${#COMPREPLY[@]} -gt 0 ] || compgen -f -- "${COMP_WORDS[COMP_CWORD]}"`},
		{"fish", "/usr/bin/fish", `
$argv[1] --completion fish | source
complete -C "$argv"`},
		{"zsh", "/usr/bin/zsh", `
compdef() { :; }
_describe() { (( $#completions )) && print -rl -- $completions; }
_arguments() { print -rl -- ${words[CURRENT]}*; }
. <("$1" --completion zsh)
words=("$@") CURRENT=$#
"_$1"`},
	}
}

func TestShells(t *testing.T) {
	if testing.Short() {
		t.Skip("builds all programs")
	}
	dir := programs(t)
	for _, s := range shells() {
		t.Run(s.name, func(t *testing.T) {
			if _, err := os.Stat(s.needs); err != nil {
				t.Skip(err)
			}
			for line, want := range map[string][]string{
				"ctl_backups veri":                  {"verify"},
				"ctl_backups --stop":                {"--stop-on-error"},
				"ctl_backups -C imapd.conf stat an": {"anne"},
				"ctl_backups -C imapd.c":            {"imapd.conf"},
				"cyr_backup -C imapd.conf an":       {"anne"},
				"cyr_backup anne show mes":          {"messages"},
				"restore --progress js":             {"json"},
				"restore -C imapd.conf host an":     {"anne"},
				"backupd --time":                    {"--timeout"},
				"backup_replay serve":               {"serve-null"},
				"backup_replay --completion ba":     {"bash"},
			} {
				words := strings.Fields(line)
				args := append([]string{"-c", s.script}, words...)
				if s.name != "fish" {
					args = append([]string{"-c", s.script, s.name}, words...)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				cmd := exec.CommandContext(ctx, s.name, args...)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir, "TERM=dumb")
				out, err := cmd.CombinedOutput()
				cancel()
				for _, w := range want {
					if !strings.Contains(string(out), w) {
						t.Errorf("%q: %v: no %s in\n%s", line, err, w, out)
					}
				}
			}
		})
	}
}
