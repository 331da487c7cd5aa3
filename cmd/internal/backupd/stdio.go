package backupd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/internal/master"
)

// flushLimit limits the time to write the last output to standard output.
const flushLimit = 5 * time.Second

// stdio is the connection on standard input and output.
type stdio struct {
	conn    *master.Conn
	drained chan struct{} // closed when all output is written
}

// openStdio makes the connection. A socket (inetd) is the connection. Anything else, such
// as pipes from ssh or a terminal, is joined to one end of a socket pair: the server needs
// time limits, which a terminal does not have, and a socket can be handed to another
// process, two pipes cannot.
func openStdio(in io.Reader, out io.Writer, o master.Options) (*stdio, error) {
	// Do not just try net.FileConn: it makes a pipe non-blocking before it fails.
	if f, ok := in.(*os.File); ok && fileIsSocket(f) {
		return openInetd(f, o)
	}
	s := &stdio{drained: make(chan struct{})}
	server, relay, err := socketPair()
	if err != nil {
		return nil, err
	}
	go func() {
		// Any error here becomes the end of the server's input.
		_, _ = io.Copy(relay, in)
		_ = relay.CloseWrite()
	}()
	go func() {
		defer close(s.drained)
		// If the client has gone, a write fails here, which ends the session.
		_, _ = io.Copy(out, relay)
		_ = relay.Close()
	}()
	o.Kind, o.Peer = master.KindStdio, "[stdin]"
	s.conn = &master.Conn{Conn: server, Options: o}
	return s, nil
}

// openInetd makes the connection of a socket that inetd has put on descriptors 0 to 2.
func openInetd(socket *os.File, o master.Options) (*stdio, error) {
	nc, err := net.FileConn(socket)
	if err != nil {
		return nil, err
	}
	if err := hideSocket(); err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	o.Kind, o.Peer = master.KindStdio, master.PeerName(nc)
	if _, ok := nc.(*net.TCPConn); ok {
		o.Kind = master.KindTCP
	}
	s := &stdio{conn: &master.Conn{Conn: nc, Options: o}, drained: make(chan struct{})}
	close(s.drained) // output goes to the socket, without a relay
	return s, nil
}

// wait waits until the session's output is written, or ctx ends. If another process serves
// the session, it needs this relay until its end.
func (s *stdio) wait(ctx context.Context) {
	select {
	case <-s.drained:
	case <-ctx.Done():
	}
}

// flush waits for the output of a session that has ended.
func (s *stdio) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), flushLimit)
	defer cancel()
	s.wait(ctx)
}

// hideSocket replaces inetd's socket on descriptors 0 to 2 by /dev/null, so that closing the
// connection reaches the client, and printed text does not.
func hideSocket() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	for fd := 0; fd <= 2; fd++ {
		if !isSocket(fd) {
			continue
		}
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			return err
		}
	}
	return nil
}

// fileIsSocket does not use Fd, which would make a pipe blocking for whoever shares it.
func fileIsSocket(f *os.File) (is bool) {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) { is = isSocket(int(fd)) })
	return err == nil && is
}

func isSocket(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK
}

func socketPair() (server, relay *net.UnixConn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	server, err = unixConn(fds[0])
	if err != nil {
		return nil, nil, errors.Join(err, unix.Close(fds[1]))
	}
	relay, err = unixConn(fds[1])
	if err != nil {
		return nil, nil, errors.Join(err, server.Close())
	}
	return server, relay, nil
}

// unixConn makes a connection of fd and owns it.
func unixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "stdio")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("descriptor %d: %T", fd, c), c.Close())
	}
	return u, nil
}
