package backupd

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/master/mastertest"
)

// childVariable makes the test binary run backupd, with echo as its service.
const childVariable = "BACKUPD_TEST_AS_SERVICE"

// endVariable replaces endMost.
const endVariable = "BACKUPD_TEST_END"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		flag.Bool("update", false, "write the manual page")
		flag.Parse()
		os.Exit(m.Run())
	}
	p := program{args: os.Args, getenv: os.Getenv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, euid: os.Geteuid(), logger: stderrLogger, build: newEcho, end: endMost, exit: os.Exit}
	if d, err := time.ParseDuration(os.Getenv(endVariable)); err == nil {
		p.end = d
	}
	os.Exit(p.run(context.Background()))
}

// host is a directory with everything that backupd needs, accessible to the unprivileged user
// of services.
type host struct {
	t       *testing.T
	dir     string
	program string
}

func newHost(t *testing.T) *host {
	t.Helper()
	t.Setenv(childVariable, "1")
	dir, err := os.MkdirTemp("", "backupd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	h := &host{t: t, dir: dir, program: filepath.Join(dir, "backupd")}
	h.installProgram()
	h.mkdir(".")
	h.mkdir("conf")
	h.mkdir("conf/msg")
	h.configure("")
	return h
}

// mkdir makes a directory that every user may use, regardless of the umask.
func (h *host) mkdir(name string) {
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(path, 0o777); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		h.t.Fatal(err)
	}
}

// installProgram installs a new copy of the test binary, like a package upgrade.
func (h *host) installProgram() {
	h.t.Helper()
	self, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	from, err := os.Open(self)
	if err != nil {
		h.t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(h.program+".dpkg-new", os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		h.t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Rename(h.program+".dpkg-new", h.program); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

// configure writes imapd.conf with extra lines.
func (h *host) configure(extra string) {
	h.t.Helper()
	partition := "backuppartition-default: " + h.path("store") + "\n"
	if strings.Contains(extra, "backuppartition-default:") {
		partition = ""
	}
	h.write("imapd.conf", fmt.Sprintf("configdirectory: %s\nbackup_drain_timeout: 10s\n%s%s\n", h.path("conf"), partition, extra))
}

func (h *host) write(name, text string) {
	h.t.Helper()
	tmp := h.path(name) + ".tmp"
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Rename(tmp, h.path(name)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) service(id int) *mastertest.Master {
	h.t.Helper()
	return mastertest.Listen(h.t, "backupd", id, "tcp4", "127.0.0.1:0")
}

// start runs backupd as a process of m.
func (h *host) start(m *mastertest.Master, args ...string) *mastertest.Child {
	h.t.Helper()
	return m.Start(h.program, append([]string{"-C", h.path("imapd.conf")}, args...)...)
}

// startAlone runs backupd without master.
func (h *host) startAlone(cmd *exec.Cmd) *mastertest.Child {
	h.t.Helper()
	return mastertest.Start(h.t, cmd)
}

// client speaks echo's protocol.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, m *mastertest.Master) *client {
	t.Helper()
	c := m.Dial()
	return &client{t, c, bufio.NewReader(c)}
}

func (c *client) send(line string) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c, "%s\r\n", line); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) recv() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return strings.TrimRight(line, "\r\n")
}

func (c *client) want(line string) {
	c.t.Helper()
	if got := c.recv(); got != line {
		c.t.Fatalf("got %q, want %q", got, line)
	}
}

func (c *client) ask(line, want string) {
	c.t.Helper()
	c.send(line)
	c.want(want)
}

// hello reads the greeting and returns the pid of the process that serves.
func (c *client) hello() (pid int) {
	c.t.Helper()
	line := c.recv()
	if _, err := fmt.Sscanf(line, "* HELLO %d", &pid); err != nil {
		c.t.Fatalf("greeting %q: %v", line, err)
	}
	return pid
}

// gone expects a closed connection.
func (c *client) gone() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); len(rest) > 0 || (err != nil && !isReset(err)) {
		c.t.Fatalf("got %q, %v instead of a close", rest, err)
	}
}

func isReset(err error) bool { return strings.Contains(err.Error(), "connection reset") }

// pipeEnds is a client at the other end of a program's standard input and output.
type pipeEnds struct {
	t   *testing.T
	in  *os.File
	out *bufio.Reader

	outFile *os.File
}

// pipeClient gives cmd pipes, before it is started.
func pipeClient(t *testing.T, cmd *exec.Cmd) *pipeEnds {
	t.Helper()
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout = inR, outW
	t.Cleanup(func() {
		for _, f := range []*os.File{inR, inW, outR, outW} {
			f.Close()
		}
	})
	return &pipeEnds{t, inW, bufio.NewReader(outR), outR}
}

func (p *pipeEnds) send(line string) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.in, "%s\r\n", line); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pipeEnds) recv() string {
	p.t.Helper()
	if err := p.outFile.SetReadDeadline(time.Now().Add(mastertest.Timeout)); err != nil {
		p.t.Fatal(err)
	}
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimRight(line, "\r\n")
}

func (p *pipeEnds) want(line string) {
	p.t.Helper()
	if got := p.recv(); got != line {
		p.t.Fatalf("got %q, want %q", got, line)
	}
}
