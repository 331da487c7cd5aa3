package attack

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// Strangers take every descriptor that the process has. A tool that connects meanwhile is answered when they
// leave, and so is the next one.
func TestControlSocketAfterFlood(t *testing.T) {
	const files = 48
	v := newVictim(t, files)
	v.backUp("before", 3) // the socket is ready
	var strangers []net.Conn
	for range 100 {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", v.port))
		if err != nil {
			t.Fatal(err)
		}
		strangers = append(strangers, c)
	}
	waitUntil(t, "the process still has descriptors", func() bool { return v.descriptors() >= files })
	meanwhile := v.tool()
	// Until then, the process tries to accept the tool.
	if err := meanwhile.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := meanwhile.Read(make([]byte, 512)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("without descriptors, the tool was answered: %d bytes, %v", n, err)
	}
	if err := meanwhile.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for _, c := range strangers {
		_ = c.Close()
	}
	for _, c := range []net.Conn{meanwhile, v.tool()} {
		if said, err := io.ReadAll(c); err != nil || string(said) != "{}\n" {
			t.Errorf("a tool was answered with %q, %v", said, err)
		}
	}
	v.backUp("after", 3)
}

// tool connects to the control socket, and asks whether the daemon is there.
func (v *victim) tool() net.Conn {
	v.t.Helper()
	c, err := net.Dial("unix", v.path("state/socket/backupd-control"))
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		v.t.Fatal(err)
	}
	if _, err := io.WriteString(c, `{"op":"ping"}`+"\n"); err != nil {
		v.t.Fatal(err)
	}
	return c
}
