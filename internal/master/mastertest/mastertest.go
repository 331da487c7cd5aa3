// Package mastertest acts as Cyrus master(8) in tests: it starts a program as a service, with a
// listening socket on descriptor 4 and the status pipe on 3, and reads the status messages.
package mastertest

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Timeout is how long tests wait for things that should happen at once.
const Timeout = 20 * time.Second

// nobody is the user for services if the test runs as root.
const nobody = 65534

// Message is one status message (master/service.h).
type Message struct {
	Message uint32
	PID     int
}

// Master is one service instance: one socket, one pipe, any number of processes.
type Master struct {
	t        *testing.T
	name     string
	id       int
	listener *os.File
	addr     net.Addr
	pipe     *os.File // write end
	reader   *os.File // read end
	reads    sync.WaitGroup

	mu       sync.Mutex
	messages []Message
	short    bool // a message was not 8 bytes
}

// Listen creates the socket, for network "tcp4", "tcp6" or "unix" (any address), and the pipe.
func Listen(t *testing.T, name string, id int, network, address string) *Master {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	filer, ok := l.(interface{ File() (*os.File, error) })
	if !ok {
		t.Fatalf("%T", l)
	}
	f, err := filer.File()
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	addr := l.Addr()
	l.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	m := &Master{t: t, name: name, id: id, listener: f, addr: addr, pipe: w, reader: r}
	m.reads.Go(m.read)
	t.Cleanup(func() { f.Close(); w.Close(); m.reads.Wait(); r.Close() })
	return m
}

func (m *Master) read() {
	var b [8]byte
	for {
		n, err := io.ReadFull(m.reader, b[:])
		if err != nil {
			m.mu.Lock()
			m.short = m.short || n > 0
			m.mu.Unlock()
			return
		}
		m.mu.Lock()
		m.messages = append(m.messages, Message{
			Message: binary.NativeEndian.Uint32(b[:4]),
			PID:     int(binary.NativeEndian.Uint32(b[4:])),
		})
		m.mu.Unlock()
	}
}

// Messages returns the messages received so far.
func (m *Master) Messages() []Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.short {
		m.t.Error("a status message was not 8 bytes")
	}
	return slices.Clone(m.messages)
}

// Stall stops reading status messages, and fills the pipe: the next message of a process blocks. The process gets an
// error when the test ends.
func (m *Master) Stall() {
	m.t.Helper()
	if err := m.reader.SetReadDeadline(time.Unix(1, 0)); err != nil {
		m.t.Fatal(err)
	}
	m.reads.Wait()
	room, err := unix.FcntlInt(m.pipe.Fd(), unix.F_GETPIPE_SZ, 0)
	if err == nil {
		_, err = m.pipe.Write(make([]byte, room))
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// Remove does what master does to a service that was removed from cyrus.conf.
func (m *Master) Remove() {
	raw, err := m.listener.SyscallConn()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = syscall.Shutdown(int(fd), syscall.SHUT_RDWR) }); err != nil {
		m.t.Fatal(err)
	}
}

// Addr returns the address of the service.
func (m *Master) Addr() string { return m.addr.String() }

// Dial connects to the service; the end of the test closes the connection.
func (m *Master) Dial() net.Conn {
	m.t.Helper()
	c, err := net.DialTimeout(m.addr.Network(), m.addr.String(), Timeout)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(Timeout)); err != nil {
		m.t.Fatal(err)
	}
	return c
}

// Start runs program as a service process of m.
func (m *Master) Start(program string, args ...string) *Child {
	m.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "CYRUS_SERVICE="+m.name, "CYRUS_ID="+strconv.Itoa(m.id))
	cmd.ExtraFiles = []*os.File{m.pipe, m.listener}
	return Start(m.t, cmd)
}

// Child is a running program. It is killed at the end of the test.
type Child struct {
	t      *testing.T
	PID    int
	Stderr *Output
	exited chan struct{}
	state  *os.ProcessState
	proc   *os.Process
}

// Start starts cmd, as an unprivileged user if the test runs as root.
func Start(t *testing.T, cmd *exec.Cmd) *Child {
	t.Helper()
	if os.Geteuid() == 0 && cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	c := &Child{t: t, Stderr: &Output{}, exited: make(chan struct{})}
	cmd.Stderr = c.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.proc, c.PID = cmd.Process, cmd.Process.Pid
	go func() {
		err := cmd.Wait()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Errorf("wait for %s: %v", cmd.Path, err)
		}
		c.state = cmd.ProcessState
		close(c.exited)
	}()
	t.Cleanup(func() {
		_ = c.proc.Kill() // most tests end the program before
		<-c.exited
		if t.Failed() {
			t.Logf("stderr of %d (%v):\n%s", c.PID, c.state, c.Stderr)
		}
	})
	return c
}

// Signal sends sig. A program that has already ended is not an error here; Status reports it.
func (c *Child) Signal(sig syscall.Signal) {
	c.t.Helper()
	if err := c.proc.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Fatal(err)
	}
}

// Exited reports whether the program has ended.
func (c *Child) Exited() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// Status waits for the end and returns the exit status; -1 for death by a signal.
func (c *Child) Status() int {
	c.t.Helper()
	select {
	case <-c.exited:
		return c.state.ExitCode()
	case <-time.After(Timeout):
		c.t.Fatalf("process %d does not end", c.PID)
		return 0
	}
}

// Output collects what a program prints.
type Output struct {
	mu sync.Mutex
	b  []byte
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b = append(o.b, p...)
	return len(p), nil
}

// String returns everything printed so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.b)
}

// Eventually polls until ok returns true, and fails the test after the timeout.
func Eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(Timeout)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("did not happen: %s", what)
		case <-tick.C:
		}
	}
}
