package attack

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crowd are clients that connect, do something, and connect again when their connection is closed.
type crowd struct {
	end     chan struct{}
	all     sync.WaitGroup
	greeted atomic.Int64
	closed  atomic.Int64
}

// attack starts n clients, from one loopback address or from many. each acts on a connection that was
// greeted; it returns when the connection fails.
func attack(t *testing.T, port, n, addresses int, each func(c net.Conn, end <-chan struct{})) *crowd {
	t.Helper()
	c := &crowd{end: make(chan struct{})}
	for i := range n {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i%addresses))}, Timeout: 30 * time.Second}
		c.all.Go(func() { c.client(d, port, each) })
	}
	t.Cleanup(func() {
		close(c.end)
		c.all.Wait()
	})
	return c
}

func (c *crowd) client(d net.Dialer, port int, each func(net.Conn, <-chan struct{})) {
	for {
		select {
		case <-c.end:
			return
		default:
		}
		conn, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			time.Sleep(10 * time.Millisecond) // the address is short of ports
			continue
		}
		stop := make(chan struct{})
		var watch sync.WaitGroup
		watch.Go(func() {
			select {
			case <-c.end:
				_ = conn.Close()
			case <-stop:
			}
		})
		if _, err := conn.Read(make([]byte, 512)); err == nil {
			c.greeted.Add(1)
			each(conn, c.end)
		}
		c.closed.Add(1)
		_ = conn.Close()
		close(stop)
		watch.Wait()
	}
}

// silent never sends anything.
func silent(c net.Conn, _ <-chan struct{}) {
	b := make([]byte, 512)
	for {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

// trickle sends a byte a second.
func trickle(c net.Conn, end <-chan struct{}) {
	for {
		if _, err := c.Write([]byte("A")); err != nil {
			return
		}
		select {
		case <-time.After(time.Second):
		case <-end:
			return
		}
	}
}

// endless sends a literal without an end.
func endless(c net.Conn, end <-chan struct{}) {
	if _, err := c.Write([]byte("GET USER {9000000000000000000+}\r\n")); err != nil {
		return
	}
	for b := make([]byte, 64<<10); ; {
		if _, err := c.Write(b); err != nil {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-end:
			return
		}
	}
}
