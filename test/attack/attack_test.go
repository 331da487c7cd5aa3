// Package attack runs clients that harm a server on purpose against the real backupd, beside a client
// that makes a backup. It checks what must hold in each case; "make attack" runs it with the full
// numbers and prints how much longer the backup takes.
package attack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/test/programs"
)

const (
	root   = "../.."
	binEnv = "ATTACK_BIN" // the directory with the programs
	// fullEnv asks for the full numbers.
	fullEnv = "ATTACK"
	// nobody is the user of backupd if the test runs as root, because it refuses to run as root.
	nobody = 65534
)

func TestMain(m *testing.M) {
	os.Exit(programs.Run(m.Run, binEnv, root, nil, "./cmd/backupd", "./cmd/backup_replay", "./cmd/ctl_backups"))
}

// full reports whether the attacks run with the full numbers.
func full() bool { return os.Getenv(fullEnv) != "" }

// victim is a running backupd with a directory as its partition.
type victim struct {
	t    *testing.T
	dir  string
	port int
	cmd  *exec.Cmd
	log  bytes.Buffer
}

// newVictim starts backupd with a limit of open files, as master's maxfds= sets it. lines are added to its
// imapd.conf.
func newVictim(t *testing.T, files int, lines ...string) *victim {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "attack-") // short: it contains a UNIX socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	v := &victim{t: t, dir: dir}
	v.write("imapd.conf", strings.Join(append([]string{
		"configdirectory: " + dir + "/state", "admins: repl", "allowplaintext: yes", "backuppartition-default: " + dir + "/store",
	}, lines...), "\n")+"\n")
	v.write("password", "secret")
	for _, d := range []string{"", "state", "store"} {
		path := filepath.Join(dir, d)
		if err := errors.Join(os.MkdirAll(path, 0o755), own(path)); err != nil {
			t.Fatal(err)
		}
	}
	passwd := v.command(t.Context(), "ctl_backups", "-C", v.path("imapd.conf"), "passwd", "repl")
	passwd.Stdin = strings.NewReader("secret")
	if out, err := passwd.CombinedOutput(); err != nil {
		t.Fatalf("passwd: %v\n%s", err, out)
	}
	v.start(files)
	return v
}

func (v *victim) path(name string) string { return filepath.Join(v.dir, name) }

func (v *victim) write(name, text string) {
	v.t.Helper()
	if err := errors.Join(os.WriteFile(v.path(name), []byte(text), 0o600), own(v.path(name))); err != nil {
		v.t.Fatal(err)
	}
}

func own(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(path, nobody, nobody)
}

// command prepares one of our programs, as the user of the service.
func (v *victim) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(os.Getenv(binEnv), name), args...)
	cmd.Dir, cmd.SysProcAttr = v.dir, &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return cmd
}

// start runs backupd with a listening socket, as systemd would, until the end of the test.
func (v *victim) start(files int) {
	v.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		v.t.Fatal(err)
	}
	v.port = l.Addr().(*net.TCPAddr).Port
	socket, err := l.(*net.TCPListener).File()
	if err := errors.Join(err, l.Close()); err != nil {
		v.t.Fatal(err)
	}
	v.cmd = v.command(v.t.Context(), "backupd", "-C", v.path("imapd.conf"), "-T", "0")
	v.cmd.Args = append([]string{"sh", "-c", `ulimit -n "$0" && LISTEN_PID=$$ exec "$@"`, strconv.Itoa(files), v.cmd.Path}, v.cmd.Args[1:]...)
	v.cmd.Path = "/bin/sh"
	v.cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "HOME="+v.dir)
	v.cmd.ExtraFiles, v.cmd.Stderr = []*os.File{socket}, &v.log
	err = v.cmd.Start()
	if err := errors.Join(err, socket.Close()); err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() {
		if err := v.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			v.t.Errorf("backupd: %v", err)
		}
		_ = v.cmd.Wait() // 75
		if v.t.Failed() {
			v.t.Logf("backupd:\n%s", v.log.String())
		}
	})
}

// backUp pushes generated mail of a user, and returns how long that took.
func (v *victim) backUp(user string, messages int) time.Duration {
	v.t.Helper()
	return v.backUpOf(user, fmt.Sprintf("gen:%d:5k", messages), messages)
}

// backUpOf is backUp with a source of backup_replay, which has so many messages.
func (v *victim) backUpOf(user, source string, messages int) time.Duration {
	v.t.Helper()
	took, err := v.push(user, source, messages)
	if err != nil {
		v.t.Fatalf("the backup of %s failed: %v", user, err)
	}
	return took
}

func (v *victim) push(user, source string, messages int) (time.Duration, error) {
	var said bytes.Buffer
	ctx, stop := context.WithTimeout(v.t.Context(), 5*patience)
	defer stop()
	cmd := v.command(ctx, "backup_replay", "--server", fmt.Sprintf("127.0.0.1:%d", v.port), "--auth", "repl", "--password-file", v.path("password"),
		"--json", "--user", user, source)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%w: %s%s", err, out, said.String())
	}
	var result struct {
		Rounds []struct {
			Records int     `json:"records"`
			Seconds float64 `json:"seconds"`
		} `json:"rounds"`
	}
	if err := json.Unmarshal(out, &result); err != nil {
		return 0, err
	}
	if len(result.Rounds) == 0 || result.Rounds[0].Records != messages {
		return 0, fmt.Errorf("unexpected answer: %s", out)
	}
	return time.Duration(result.Rounds[0].Seconds * float64(time.Second)), nil
}

// descriptors returns how many descriptors backupd has.
func (v *victim) descriptors() int {
	v.t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", v.cmd.Process.Pid))
	if err != nil {
		v.t.Fatal(err)
	}
	return len(all)
}

// memory returns the peak of backupd's memory, in bytes.
func (v *victim) memory() int64 {
	v.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.cmd.Process.Pid))
	if err != nil {
		v.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		v.t.Fatal(err)
	}
	return kib << 10
}
