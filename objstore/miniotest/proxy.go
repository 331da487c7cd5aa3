package miniotest

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy sits between a client and a Server and breaks connections on request.
type Proxy struct {
	Server        // the same, with the proxy's Endpoint
	target string // of the real one

	mu      sync.Mutex
	traffic Traffic
	lose    int
	down    bool
	conns   map[net.Conn]struct{}
}

// Traffic counts the data through a Proxy.
type Traffic struct {
	Answered int64 // bytes that the server sent, headers included
	Requests int   // answers, over plain HTTP
}

// NewProxy starts a proxy before s; it ends with the test.
func (s *Server) NewProxy(tb testing.TB) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("start proxy: %v", err)
	}
	p := &Proxy{Server: *s, target: s.Endpoint, conns: make(map[net.Conn]struct{})}
	p.Endpoint = l.Addr().String()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(conn) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		p.SetDown(true)
		wg.Wait()
	})
	return p
}

// LoseAnswers drops the next n answers of the server: the request is executed, and the
// client's connection breaks. n = 0 ends that.
func (p *Proxy) LoseAnswers(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = n
}

// SetDown breaks all connections, and new ones immediately, until it is set to false.
func (p *Proxy) SetDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	if down {
		for conn := range p.conns {
			_ = conn.Close()
		}
	}
}

// Traffic returns the traffic so far.
func (p *Proxy) Traffic() Traffic {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.traffic
}

// enter registers a pair of connections. It returns false if the proxy is down.
func (p *Proxy) enter(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		p.conns[conn] = struct{}{}
	}
	return !p.down
}

func (p *Proxy) leave(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		delete(p.conns, conn)
		_ = conn.Close()
	}
}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	defer p.leave(client, server)
	if !p.enter(client, server) {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	p.answers(client, server)
	_ = client.Close()
	_ = server.Close()
	wg.Wait()
}

// answers forwards the server's answers unless they are to be lost.
func (p *Proxy) answers(client io.Writer, server io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if n > 0 && p.loses(buf[:n]) {
			return
		}
		if _, e := client.Write(buf[:n]); e != nil || err != nil {
			return
		}
	}
}

// loses reports whether these bytes of an answer are to be lost. "100 Continue" is not an
// answer.
func (p *Proxy) loses(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traffic.Answered += int64(len(b))
	if len(b) >= 12 && string(b[9:12]) == "100" {
		return false
	}
	if bytes.HasPrefix(b, []byte("HTTP/1.1 ")) {
		p.traffic.Requests++ // over plain HTTP an answer starts a chunk
	}
	if p.lose == 0 {
		return false
	}
	p.lose--
	return true
}
