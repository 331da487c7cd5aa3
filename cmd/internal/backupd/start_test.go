package backupd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/cyrusbackup/backupd/internal/master"
	"github.com/cyrusbackup/backupd/internal/master/mastertest"
	"github.com/cyrusbackup/backupd/internal/version"
)

func chmodAll(path string) error { return os.Chmod(path, 0o777) }

func TestExitStatusOfFailedStarts(t *testing.T) {
	h := newHost(t)
	h.write("broken.conf", "configdirectory: relative\n")
	h.write("storeless.conf", "configdirectory: "+h.path("conf")+"\n")
	h.write("umask.conf", "configdirectory: "+h.path("conf")+"\numask: 99\nbackuppartition-default: /x\n")
	h.write("debug.conf", "configdirectory: "+h.path("conf")+"\ndebug_command: gdb %n\nbackuppartition-default: /x\n")
	h.write("unwritable.conf", "configdirectory: "+h.path("conf")+"\nbackup_index_path: /proc/nowhere/index\nbackuppartition-default: /x\n")
	tests := []struct {
		name string
		args []string
		env  string
		code int
		says string
	}{
		{"unknown option", []string{"-x"}, "", master.ExitUsage, "usage: backupd"},
		{"argument", []string{"more"}, "", master.ExitUsage, "usage: backupd"},
		{"not a number", []string{"-U", "many"}, "", master.ExitUsage, "usage: backupd"},
		{"negative", []string{"-T-1"}, "", master.ExitUsage, "usage: backupd"},
		{"help", []string{"-h"}, "", master.ExitUsage, "usage: backupd"},
		{"no configuration", []string{"-C", h.path("none.conf")}, "", master.ExitConfig, "none.conf"},
		{"wrong configuration", []string{"-C" + h.path("broken.conf")}, "", master.ExitConfig, "configdirectory"},
		{"no partition", []string{"-C", h.path("storeless.conf")}, "", master.ExitConfig, "backuppartition-default"},
		{"umask", []string{"-C", h.path("umask.conf")}, "", master.ExitConfig, "umask"},
		{"debug_command", []string{"-D", "-C", h.path("debug.conf")}, "", master.ExitConfig, "debug_command"},
		{"index nowhere", []string{"-C", h.path("unwritable.conf")}, "", master.ExitConfig, "/proc/nowhere"},
		{"DAEMON section", []string{"-C", h.path("imapd.conf")}, "CYRUS_ISDAEMON=1", master.ExitConfig, "SERVICES"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name, value, _ := strings.Cut(tt.env, "=")
			if name != "" {
				t.Setenv(name, value)
			}
			child := mastertest.Listen(t, "backupd", 0, "tcp4", "127.0.0.1:0").Start(h.program, tt.args...)
			if code := child.Status(); code != tt.code {
				t.Errorf("status %d, want %d", code, tt.code)
			}
			if !strings.Contains(child.Stderr.String(), tt.says) {
				t.Errorf("says %q", child.Stderr)
			}
		})
	}
}

// The log has the version, also of a process that cannot serve.
func TestStartIsLogged(t *testing.T) {
	h := newHost(t)
	h.mkdir("conf/backup-index/broken")
	child := h.start(h.service(0))
	child.Status()
	for _, want := range []string{"starting", "version=" + version.Number(), "config=" + h.path("imapd.conf")} {
		if !strings.Contains(child.Stderr.String(), want) {
			t.Errorf("%q lacks %q", child.Stderr, want)
		}
	}
}

func TestBrokenIndexEndsTheProcess(t *testing.T) {
	h := newHost(t)
	h.mkdir("conf/backup-index/broken")
	h.mkdir("conf/backup-index")
	child := h.start(h.service(0))
	if code := child.Status(); code != master.ExitConfig {
		t.Errorf("status %d", code)
	}
}

func TestRootIsRefused(t *testing.T) {
	var said strings.Builder
	p := program{args: []string{"backupd"}, getenv: func(string) string { return "" }, stderr: &said, euid: 0, logger: stderrLogger, build: newEcho}
	if code := p.run(t.Context()); code != master.ExitUsage || !strings.Contains(said.String(), "root") {
		t.Errorf("status %d, %q", code, said.String())
	}
}

// After an exit status 0 before the first connection, master would start the service again
// forever.
func TestHelpFailsAsService(t *testing.T) {
	for service, want := range map[string]int{"": master.ExitOK, "backupd": master.ExitUsage} {
		var out strings.Builder
		getenv := func(name string) string { return map[string]string{"CYRUS_SERVICE": service}[name] }
		p := program{args: []string{"backupd", "--help"}, getenv: getenv, stdout: &out, stderr: io.Discard, euid: 0, logger: stderrLogger, build: newEcho}
		if code := p.run(t.Context()); code != want || !strings.Contains(out.String(), "-T, --timeout SECONDS") {
			t.Errorf("CYRUS_SERVICE=%s: status %d, %q", service, code, out.String())
		}
	}
}

func TestNoSocketOnItsDescriptor(t *testing.T) {
	h := newHost(t)
	cmd := exec.Command(h.program, "-C", h.path("imapd.conf"))
	cmd.Env = append(os.Environ(), "CYRUS_SERVICE=backupd", "CYRUS_ID=0")
	if code := h.startAlone(cmd).Status(); code != master.ExitSoftware {
		t.Errorf("status %d", code)
	}
}

func TestDatagramSocketIsRefused(t *testing.T) {
	h := newHost(t)
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	conn, ok := udp.(*net.UDPConn)
	if !ok {
		t.Fatalf("%T", udp)
	}
	f, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	cmd := exec.Command(h.program, "-C", h.path("imapd.conf"))
	cmd.Env = append(os.Environ(), "CYRUS_SERVICE=backupd", "CYRUS_ID=0")
	cmd.ExtraFiles = []*os.File{w, f}
	child := h.startAlone(cmd)
	if code := child.Status(); code != master.ExitSoftware || !strings.Contains(child.Stderr.String(), "proto=") {
		t.Errorf("status %d, %q", code, child.Stderr)
	}
}

func TestDebugCommandRunsWithoutMastersDescriptors(t *testing.T) {
	h := newHost(t)
	out := h.path("conf/debugged")
	h.configure("debug_command: (echo %s %d %s; readlink /proc/self/fd/3 /proc/self/fd/4) > " + out)
	m := h.service(0)
	child := h.start(m, "-D")
	dial(t, m).hello()
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%s %d backupd\n", h.program, child.PID); string(b) != want {
		t.Errorf("got %q, want %q", b, want)
	}
}

func TestStandardInputAndOutput(t *testing.T) {
	h := newHost(t)
	cmd := exec.Command(h.program, "-C", h.path("imapd.conf"))
	c := pipeClient(t, cmd)
	child := h.startAlone(cmd)
	c.want(fmt.Sprintf("* HELLO %d backupd false false 0 stdio [stdin]", child.PID))
	c.send("INDEX")
	c.want(fmt.Sprintf("OK %d", child.PID))
	c.send("EXIT")
	if code := child.Status(); code != master.ExitOK {
		t.Errorf("status %d", code)
	}
}

func TestEndOfStandardInputEndsTheProcess(t *testing.T) {
	h := newHost(t)
	cmd := exec.Command(h.program, "-C", h.path("imapd.conf"))
	c := pipeClient(t, cmd)
	child := h.startAlone(cmd)
	c.recv()
	c.in.Close()
	if code := child.Status(); code != master.ExitOK {
		t.Errorf("status %d", code)
	}
}

func TestStandardInputIsHandedToTheOwner(t *testing.T) {
	h := newHost(t)
	m := h.service(0)
	owner := h.start(m)
	hasIndex(t, owner)
	cmd := exec.Command(h.program, "-C", h.path("imapd.conf"), "-N")
	c := pipeClient(t, cmd)
	child := h.startAlone(cmd)
	c.want(fmt.Sprintf("* HELLO %d backupd false true 0 stdio [stdin]", owner.PID))
	c.send("INDEX")
	c.want(fmt.Sprintf("OK %d", owner.PID))
	c.send("EXIT")
	if code := child.Status(); code != master.ExitOK {
		t.Errorf("status %d", code)
	}
}

func TestSocketAsStandardInput(t *testing.T) {
	h := newHost(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	tcp, ok := far.(*net.TCPConn)
	if !ok {
		t.Fatalf("%T", far)
	}
	f, err := tcp.File()
	if err != nil {
		t.Fatal(err)
	}
	far.Close()
	cmd := exec.Command(h.program, "-C", h.path("imapd.conf"))
	cmd.Stdin, cmd.Stdout = f, f
	child := h.startAlone(cmd)
	f.Close()
	c := &client{t, near, bufio.NewReader(near)}
	c.want(fmt.Sprintf("* HELLO %d backupd false false 0 tcp [127.0.0.1]", child.PID))
	c.send("EXIT")
	c.gone()
	if code := child.Status(); code != master.ExitOK {
		t.Errorf("status %d", code)
	}
}

func TestSocketActivation(t *testing.T) {
	h := newHost(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		t.Fatalf("%T", l)
	}
	f, err := tcp.File()
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"`, h.program, "-C", h.path("imapd.conf"), "-T1")
	cmd.ExtraFiles = []*os.File{f}
	child := h.startAlone(cmd)
	f.Close()
	near, err := net.Dial("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	c := &client{t, near, bufio.NewReader(near)}
	if pid := c.hello(); pid != child.PID {
		t.Errorf("served by %d", pid)
	}
	c.send("EXIT")
	if code := child.Status(); code != master.ExitOK {
		t.Errorf("status %d", code)
	}
}

func TestHangUpDuringStartIsSurvived(t *testing.T) {
	h := newHost(t)
	h.mkdir("conf/go")
	h.configure("debug_command: touch " + h.path("conf/go/on") + "; while test -e " + h.path("conf/go/on") + "; do :; done")
	m := h.service(0)
	child := h.start(m, "-D")
	mastertest.Eventually(t, "the debugger runs", func() bool { _, err := os.Stat(h.path("conf/go/on")); return err == nil })
	child.Signal(syscall.SIGHUP)
	if err := os.Remove(h.path("conf/go/on")); err != nil {
		t.Fatal(err)
	}
	dial(t, m).hello()
}

// SIGHUP ends the process until package early is initialised. Initialising hundreds of other
// packages first would take a while on a busy host.
func TestHangUpIsIgnoredBeforeMost(t *testing.T) {
	h := newHost(t)
	cmd := exec.Command(h.program, "--help")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace strings.Builder
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(trace.String(), "init github.com/cyrusbackup/backupd/internal/master/early @")
	if n, m := strings.Count(before, "\n"), strings.Count(after, "\n"); !found || n > m/3 {
		t.Errorf("%d packages are initialised before it, %d after it:\n%s", n, m, before)
	}
}
