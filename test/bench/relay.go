package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
)

// relay passes connections on to MinIO, and counts requests and the bytes of the answers.
type relay struct {
	net.Listener
	to       string
	requests atomic.Int64
	answered atomic.Int64
}

// throughRelay lets the tools of a server on MinIO connect through a relay, until end is called.
// On a directory count is nil.
func (s *server) throughRelay() (count func() (requests, answered int64), end func(), err error) {
	if s.store == nil {
		return nil, func() {}, nil
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	r := &relay{Listener: l, to: s.endpoint}
	go r.serve()
	direct := s.conf
	b, err := os.ReadFile(direct)
	if err == nil {
		s.conf = direct + ".counted"
		text := strings.ReplaceAll(string(b), locationOf(s.endpoint), locationOf(l.Addr().String()))
		err = os.WriteFile(s.conf, []byte(text), 0o644)
	}
	end = func() {
		s.conf = direct
		l.Close()
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	return func() (int64, int64) { return r.requests.Load(), r.answered.Load() }, end, nil
}

func (r *relay) serve() {
	for {
		c, err := r.Accept()
		if err != nil {
			return
		}
		go r.pass(c)
	}
}

func (r *relay) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp4", r.to)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		defer server.Close()
		_, _ = io.Copy(server, io.TeeReader(client, countFunc(r.asked)))
	}()
	_, _ = io.Copy(client, io.TeeReader(server, countFunc(func(p []byte) { r.answered.Add(int64(len(p))) })))
}

// asked counts a request to read, which has no body and arrives in one piece.
func (r *relay) asked(p []byte) {
	for _, verb := range []string{"GET /", "HEAD /"} {
		if bytes.HasPrefix(p, []byte(verb)) {
			r.requests.Add(1)
		}
	}
}

type countFunc func(p []byte)

func (f countFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
