package master

import (
	"container/list"
	"net"
	"net/netip"
	"time"
)

const (
	// strangerYoung protects a connection from later ones of the same address, so that a flood from there
	// does not end a login that has begun.
	strangerYoung = time.Second
	// strangerPressed is how long a client may take to log in while more than half of the places belong to
	// clients that have not.
	strangerPressed = 10 * time.Second
	// knownMost limits the addresses that are remembered because a client there has logged in.
	knownMost = 1024
)

// strangers are the TCP connections whose clients have not logged in. If no place is free for another
// connection, the process closes one of them: the oldest connection of the busiest address in the busiest
// network, first of addresses from which nobody has logged in. It closes no connection of a logged-in
// client. A mail server thus gets a place beside a flood from other addresses, and beside a flood from
// its own address if it logs in faster than the flood replaces all places.
type strangers struct {
	inOrder   list.List // of *stranger, the oldest first
	addresses map[netip.Prefix]*crowd
	networks  map[netip.Prefix]*crowd
	known     map[netip.Prefix]struct{}
}

// crowd counts the strangers of an address or a network.
type crowd struct{ n int }

// stranger is a connection whose client has not logged in.
type stranger struct {
	at       time.Time
	close    func() // ends the connection, without waiting
	address  netip.Prefix
	network  netip.Prefix
	known    bool // somebody at the address has logged in
	squeezed bool // closed in favour of another one
	here     *crowd
	near     *crowd
	element  *list.Element // nil: not a stranger any more
}

func newStrangers() strangers {
	return strangers{addresses: map[netip.Prefix]*crowd{}, networks: map[netip.Prefix]*crowd{}, known: map[netip.Prefix]struct{}{}}
}

// enter adds a connection. It returns nil for one without an IP address, which counts as logged in.
func (s *strangers) enter(a net.Addr, now time.Time, closer func()) *stranger {
	address, network, ok := places(a)
	if !ok {
		return nil
	}
	x := &stranger{at: now, close: closer, address: address, network: network}
	_, x.known = s.known[address]
	x.here, x.near = crowdOf(s.addresses, address), crowdOf(s.networks, network)
	x.here.n++
	x.near.n++
	x.element = s.inOrder.PushBack(x)
	return x
}

// leave removes a connection that has ended, is being closed, or whose client has logged in. It reports
// whether the connection was a stranger until now.
func (s *strangers) leave(x *stranger) bool {
	if x == nil || x.element == nil {
		return false
	}
	s.inOrder.Remove(x.element)
	x.element = nil
	if x.here.n--; x.here.n == 0 {
		delete(s.addresses, x.address)
	}
	if x.near.n--; x.near.n == 0 {
		delete(s.networks, x.network)
	}
	return true
}

// welcome is leave for a client that has logged in. Its address is known from now on.
func (s *strangers) welcome(x *stranger) {
	if s.leave(x) && len(s.known) < knownMost {
		s.known[x.address] = struct{}{}
	}
}

// worst returns the connection to close in favour of a newcomer, which is one of them, or nil if there
// is none.
func (s *strangers) worst(newcomer *stranger) *stranger {
	var worst *stranger
	for e := s.inOrder.Front(); e != nil; e = e.Next() {
		if x := e.Value.(*stranger); worst == nil || x.worse(worst) {
			worst = x
		}
	}
	if worst != nil && newcomer != nil && worst.address == newcomer.address && newcomer.at.Sub(worst.at) < strangerYoung {
		return newcomer
	}
	return worst
}

// worse reports whether x is closed rather than y.
func (x *stranger) worse(y *stranger) bool {
	switch {
	case x.known != y.known:
		return y.known
	case x.near.n != y.near.n:
		return x.near.n > y.near.n
	}
	return x.here.n > y.here.n
}

// late returns the oldest connection if it had more than strangerPressed.
func (s *strangers) late(now time.Time) *stranger {
	e := s.inOrder.Front()
	if e == nil {
		return nil
	}
	if x := e.Value.(*stranger); now.Sub(x.at) > strangerPressed {
		return x
	}
	return nil
}

func crowdOf(m map[netip.Prefix]*crowd, key netip.Prefix) *crowd {
	c := m[key]
	if c == nil {
		c = &crowd{}
		m[key] = c
	}
	return c
}

// places returns what counts as one address and one network: for IPv4 an address and a /24, for IPv6 a
// /64, which one host can have for itself, and a /48.
func places(a net.Addr) (address, network netip.Prefix, ok bool) {
	ap, err := netip.ParseAddrPort(addrString(a))
	if err != nil {
		return netip.Prefix{}, netip.Prefix{}, false
	}
	ip := ap.Addr().Unmap().WithZone("")
	bits, wide := 64, 48
	if ip.Is4() {
		bits, wide = 32, 24
	}
	return netip.PrefixFrom(ip, bits).Masked(), netip.PrefixFrom(ip, wide).Masked(), true
}
