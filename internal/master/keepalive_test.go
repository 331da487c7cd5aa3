package master

import (
	"context"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// passed returns a TCP connection as it looks after it was passed from another process.
func passed(t *testing.T) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	file, err := far.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// net.FileConn enables keepalive. A passed connection must have the same settings as an accepted
// one.
func TestKeepAliveOfPassedConnections(t *testing.T) {
	for _, want := range []net.KeepAliveConfig{{Enable: false, Idle: -1, Interval: -1, Count: -1}, {Enable: true, Idle: 600e9, Interval: -1, Count: -1}} {
		on, idle := 0, 0
		var failed error
		served := make(chan struct{})
		p := New(Config{}, Limits{KeepAlive: want})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan int, 1)
		go func() {
			ended <- p.Run(ctx, Callbacks{Serve: func(_ context.Context, c *Conn) {
				defer close(served)
				raw, err := c.Conn.(*net.TCPConn).SyscallConn()
				if err != nil {
					failed = err
					return
				}
				failed = raw.Control(func(fd uintptr) {
					on, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE)
					idle, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
				})
			}})
		}()
		place, err := p.Reserve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		place.Serve(&Conn{Conn: passed(t)})
		<-served
		cancel()
		<-ended
		if failed != nil || (on != 0) != want.Enable || want.Enable && idle != 600 {
			t.Errorf("%+v: on %d, idle %d s, %v", want, on, idle, failed)
		}
	}
}
