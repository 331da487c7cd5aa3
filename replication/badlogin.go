package replication

import (
	"net/netip"
	"strings"
	"time"
)

// maxLoginSteps limits the pause after a failed login to ten times FailedLoginPause: 30 seconds by
// default, half of what a connection has for its login.
const maxLoginSteps = 9

// loginPause records a failed login from addr, and returns how long to delay the answer. A right
// password is never delayed, so nobody is kept out by the guesses of a neighbour. The connection of a
// guess keeps its place meanwhile, so more connections do not make more guesses.
func (s *Server) loginPause(addr string) time.Duration {
	first := s.opt.FailedLoginPause
	if first == 0 {
		return 0
	}
	return first + s.badLogins.refused(networkOf(addr))
}

// networkOf returns the network of a peer, which addr names as in ConnOptions: the address with IPv4,
// and its first 64 bits with IPv6, because one machine can use all addresses of these.
func networkOf(addr string) string {
	text := strings.TrimSuffix(addr[strings.LastIndexByte(addr, '[')+1:], "]")
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return addr
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return addr
	}
	return network.String()
}
