package main

import (
	"encoding/binary"
	"io"
	"net"
	"os"
)

const password = "secret"

// saslauthd replaces saslauthd(8), so that every server checks the password in the same way: four
// counted strings (user, password, service, realm) in, one out.
type saslauthd struct {
	path string
	l    net.Listener
}

func listenSASL(path string) (*saslauthd, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	a := &saslauthd{path, l}
	go a.serve()
	return a, os.Chmod(path, 0o777)
}

func (a *saslauthd) close() { a.l.Close() }

func (a *saslauthd) serve() {
	for {
		c, err := a.l.Accept()
		if err != nil {
			return
		}
		go answer(c)
	}
}

func answer(c net.Conn) {
	defer c.Close()
	var said [4]string
	for i := range said {
		var n uint16
		if binary.Read(c, binary.BigEndian, &n) != nil {
			return
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		said[i] = string(b)
	}
	word := "\x00\x02NO"
	if said[1] == password {
		word = "\x00\x02OK"
	}
	_, _ = io.WriteString(c, word) // the client may have disconnected
}
