package master

import (
	"net"
	"net/netip"
)

// Kind is the kind of socket that a connection arrived on.
type Kind string

// The kinds of connection.
const (
	KindTCP   Kind = "tcp"
	KindUnix  Kind = "unix"
	KindStdio Kind = "stdio" // standard input and output: inetd, ssh, a test
)

// Options belong to a connection, not to a process: a process sends them with a connection that
// it passes on, so that the owner serves it as part of the original service.
type Options struct {
	Service string `json:"service"` // name in cyrus.conf: the prefix of its options in imapd.conf
	Config  string `json:"config"`  // -C: absolute path of its imapd.conf; "": that of the serving process
	TLS     bool   `json:"tls"`     // -s: TLS from the first byte
	NoAuth  bool   `json:"noauth"`  // -N: passwords are not checked
	SSF     int    `json:"ssf"`     // -p: strength of external protection, in bits
	Kind    Kind   `json:"kind"`
	Peer    string `json:"peer"` // "[192.0.2.1]" or "[unix socket]", as Cyrus writes it
}

// Conn is an accepted connection without any data read or written.
type Conn struct {
	net.Conn
	Options

	loggedIn func()    // see LoggedIn; nil: it counts as logged in
	stranger *stranger // nil: the same
}

// LoggedIn must be called when the client has logged in: until then, the connection may be closed in
// favour of another one. It may be called again.
func (c *Conn) LoggedIn() {
	if c.loggedIn != nil {
		c.loggedIn()
	}
}

// PeerName returns the name of the other end in the form that Cyrus uses in logs and proc files
// (imap/global.c, get_clienthost). It does not ask the DNS, because the client waits only ten
// seconds for the greeting, and a slow resolver could use them up.
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

// kindOf derives the kind of a connection from its address.
func kindOf(c net.Conn) Kind {
	if _, ok := c.(*net.UnixConn); ok {
		return KindUnix
	}
	return KindTCP
}
