package master

import (
	"net"
	"net/netip"
)

// Kind is what a connection came in through.
type Kind string

// The kinds of connection.
const (
	KindTCP   Kind = "tcp"
	KindUnix  Kind = "unix"
	KindStdio Kind = "stdio" // standard input and output: inetd, ssh, a test
)

// Options belong to a connection, not to a process: a process that hands a connection
// over sends them along, so that the owner serves it as the service it came in on.
type Options struct {
	Service string `json:"service"` // name in cyrus.conf: the prefix of its options in imapd.conf
	Config  string `json:"config"`  // -C: the imapd.conf that holds for it, an absolute path; "": the one of whoever serves
	TLS     bool   `json:"tls"`     // -s: TLS from the first byte
	NoAuth  bool   `json:"noauth"`  // -N: no password is checked
	SSF     int    `json:"ssf"`     // -p: strength of protection outside of us, in bits
	Kind    Kind   `json:"kind"`
	Peer    string `json:"peer"` // "[192.0.2.1]" or "[unix socket]", as Cyrus writes it
}

// Conn is an accepted connection of which nothing has been read or written.
type Conn struct {
	net.Conn
	Options
}

// PeerName names the other end of c as Cyrus does in logs and proc files
// (imap/global.c, get_clienthost), without asking the DNS: the client waits only ten
// seconds for its greeting, and a slow resolver must not use them up.
func PeerName(c net.Conn) string {
	ap, err := netip.ParseAddrPort(addrString(c.RemoteAddr()))
	if err != nil {
		return "[unix socket]"
	}
	return "[" + ap.Addr().Unmap().String() + "]"
}

func addrString(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

// kindOf tells a connection's kind from its address.
func kindOf(c net.Conn) Kind {
	if _, ok := c.(*net.UnixConn); ok {
		return KindUnix
	}
	return KindTCP
}
