// Package peercred reports the owner of the process at the other end of a Unix socket.
package peercred

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Get returns the process, user and group that the kernel recorded when the other end connected
// (unix(7), SO_PEERCRED).
func Get(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("peer credentials: %w", err)
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, fmt.Errorf("peer credentials: %w", err)
	}
	if failed != nil {
		return nil, fmt.Errorf("peer credentials: %w", failed)
	}
	return cred, nil
}
