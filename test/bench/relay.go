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
	to                                   string
	gets, lists, puts, deletes, answered atomic.Int64
}

// traffic is what has gone through a relay.
type traffic struct {
	gets     int64 // HEAD, too
	lists    int64
	puts     int64
	deletes  int64
	answered int64 // bytes
}

func (r *relay) count() traffic {
	return traffic{r.gets.Load(), r.lists.Load(), r.puts.Load(), r.deletes.Load(), r.answered.Load()}
}

// since returns what has been added.
func (t traffic) since(o traffic) traffic {
	return traffic{t.gets - o.gets, t.lists - o.lists, t.puts - o.puts, t.deletes - o.deletes, t.answered - o.answered}
}

// throughRelay lets the tools of a server on MinIO connect through a relay, until end is called.
// On a directory count is nil.
func (s *server) throughRelay() (count func() traffic, end func(), err error) {
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
	return r.count, end, nil
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

// asked counts a request, whose first line arrives in one piece.
func (r *relay) asked(p []byte) {
	line, _, _ := bytes.Cut(p[:min(len(p), 4096)], []byte("\r\n"))
	if !bytes.HasSuffix(line, []byte(" HTTP/1.1")) {
		return
	}
	verb, target, _ := bytes.Cut(line, []byte(" /"))
	switch string(verb) {
	case "GET", "HEAD":
		if bytes.Contains(target, []byte("list-type=")) {
			r.lists.Add(1)
		} else {
			r.gets.Add(1)
		}
	case "PUT":
		r.puts.Add(1)
	case "DELETE", "POST":
		r.deletes.Add(1)
	}
}

type countFunc func(p []byte)

func (f countFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
