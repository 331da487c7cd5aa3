package handover

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// network preserves packets and reports when the other side closes.
const network = "unixpacket"

// socketPath is the path of a UNIX socket by way of a descriptor of its directory, because the
// kernel allows only 107 bytes of path and index directories can be nested deeply.
type socketPath struct {
	dir  *os.File
	path string // short form, valid while dir is open
}

func openSocketPath(path string) (*socketPath, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	return &socketPath{dir, fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))}, nil
}

func (s *socketPath) close() error { return s.dir.Close() }

// listen replaces the socket of a killed process. The caller holds the receiver's lock, so that no
// process listens there.
func (s *socketPath) listen() (*net.UnixListener, error) {
	if err := os.Remove(s.path); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	l, err := net.ListenUnix(network, &net.UnixAddr{Name: s.path, Net: network})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // remove does, while the lock is still held
	if err := os.Chmod(s.path, 0o600); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

func (s *socketPath) remove() error { return os.Remove(s.path) }

func (s *socketPath) dial(ctx context.Context) (*net.UnixConn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, s.path)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return nil, fmt.Errorf("dial %s: %T", network, c)
	}
	if err := peerIsUs(u); err != nil {
		_ = u.Close()
		return nil, err
	}
	return u, nil
}
