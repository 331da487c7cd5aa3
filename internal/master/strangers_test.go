package master

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// crowded adds connections, each a second after the one before, and returns them by name.
func crowded(t *testing.T, s *strangers, names ...string) map[string]*stranger {
	t.Helper()
	out := map[string]*stranger{}
	for i, name := range names {
		a, err := net.ResolveTCPAddr("tcp", name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = s.enter(a, time.Unix(int64(i), 0), func() {})
	}
	return out
}

func TestWorstStranger(t *testing.T) {
	for name, c := range map[string]struct {
		known []string
		in    []string // the last one is the newcomer
		want  string
	}{
		"nobody":                    {},
		"oldest":                    {in: []string{"192.0.2.1:1", "198.51.100.1:1", "203.0.113.1:1"}, want: "192.0.2.1:1"},
		"busiest address":           {in: []string{"192.0.2.1:1", "192.0.2.2:1", "192.0.2.2:2", "192.0.2.3:1"}, want: "192.0.2.2:1"},
		"busiest network":           {in: []string{"192.0.2.1:1", "198.51.100.1:1", "198.51.100.2:1", "192.0.2.1:2", "198.51.100.3:1"}, want: "198.51.100.1:1"},
		"own address":               {in: []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3"}, want: "192.0.2.1:1"},
		"unknown before known":      {known: []string{"192.0.2.1:9"}, in: []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "198.51.100.1:1"}, want: "198.51.100.1:1"},
		"known, if all are":         {known: []string{"192.0.2.1:9"}, in: []string{"192.0.2.1:1", "192.0.2.1:2"}, want: "192.0.2.1:1"},
		"a /64 of IPv6 is one host": {in: []string{"192.0.2.1:1", "[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.2:1"}, want: "[2001:db8::1]:1"},
		"the same, in a network":    {in: []string{"[2001:db8:0:1::1]:1", "[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1"}, want: "[2001:db8::1]:1"},
		"IPv4 in IPv6":              {in: []string{"198.51.100.1:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:2"}, want: "192.0.2.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStrangers()
			for _, x := range crowded(t, &s, c.known...) {
				s.welcome(x)
			}
			in := crowded(t, &s, c.in...)
			var newcomer *stranger
			if len(c.in) > 0 {
				newcomer = in[c.in[len(c.in)-1]]
			}
			got := s.worst(newcomer)
			if got != in[c.want] {
				t.Errorf("closes %+v, want %s", got, c.want)
			}
			for _, x := range in {
				s.leave(x)
			}
			if len(s.addresses)+len(s.networks)+s.inOrder.Len() > 0 {
				t.Errorf("connections that have left are still counted: %+v", s)
			}
		})
	}
}

// A login that has just begun is not closed for a newcomer of the same address.
func TestYoungStrangerStays(t *testing.T) {
	s := newStrangers()
	a := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	now := time.Unix(100, 0)
	first := s.enter(a, now, func() {})
	if x := s.enter(a, now.Add(strangerYoung/2), func() {}); s.worst(x) != x {
		t.Error("the first login is closed after half a second")
	}
	if x := s.enter(a, now.Add(strangerYoung), func() {}); s.worst(x) != first {
		t.Error("the oldest connection is kept")
	}
}

// greeter is a process whose sessions greet, log in when they read a line, and end with the connection.
func greeter(t *testing.T, limits Limits) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := New(Config{Listeners: []net.Listener{l}}, limits)
	ctx, end := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		done <- p.Run(ctx, Callbacks{Serve: func(ctx context.Context, c *Conn) {
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			fmt.Fprintf(c, "+")
			for b := make([]byte, 1); ; {
				if _, err := c.Read(b); err != nil {
					return
				}
				c.LoggedIn()
				fmt.Fprintf(c, "%s", b)
			}
		}})
	}()
	t.Cleanup(func() {
		end()
		<-done
	})
	return l
}

// from connects from a loopback address and waits for the greeting. It returns nil if the connection was
// closed instead.
func from(t *testing.T, l net.Listener, address string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: 20 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return nil
	}
	return c
}

// logIn reports whether the connection could still log in.
func logIn(c net.Conn) bool {
	if c == nil {
		return false
	}
	_, err := c.Write([]byte("x"))
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 1))
	}
	return err == nil
}

// Clients that never log in leave the places to others, and never cost somebody his place who has logged in.
func TestStrangersGiveWay(t *testing.T) {
	for _, spare := range []int{0, 3} {
		t.Run(fmt.Sprintf("%d spare places", spare), func(t *testing.T) {
			l := greeter(t, Limits{MaxConns: 8, Strangers: spare})
			var in []net.Conn
			for range 4 {
				in = append(in, from(t, l, "127.0.0.1"))
				if !logIn(in[len(in)-1]) {
					t.Fatal("no login on a quiet server")
				}
			}
			for i := range 40 {
				from(t, l, fmt.Sprintf("127.0.0.%d", 10+i%5))
			}
			for i := range 4 {
				c := from(t, l, fmt.Sprintf("127.0.1.%d", i+1))
				if !logIn(c) {
					t.Fatalf("client %d did not get a place", i)
				}
				in = append(in, c)
			}
			for i, c := range in {
				if !logIn(c) {
					t.Errorf("client %d lost its place after its login", i)
				}
			}
		})
	}
}

// Places that logged-in clients have are not given to others: those wait, as before.
func TestFullOfLoggedIn(t *testing.T) {
	l := greeter(t, Limits{MaxConns: 2, Strangers: 5})
	a, b := from(t, l, "127.0.0.1"), from(t, l, "127.0.0.2")
	if !logIn(a) || !logIn(b) {
		t.Fatal("no login on a quiet server")
	}
	served := make(chan bool)
	go func() {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.3")}}
		c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 1))
			c.Close()
		}
		served <- err == nil
	}()
	select {
	case <-served:
		t.Fatal("a third client was served beside two that have logged in")
	case <-time.After(50 * time.Millisecond):
	}
	a.Close()
	if !<-served {
		t.Error("the client that waited was not served")
	}
	if !logIn(b) {
		t.Error("a client lost its place after its login")
	}
}
