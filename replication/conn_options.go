package replication

import "net"

// ConnOptions are the facts of one connection that its listener knows.
type ConnOptions struct {
	Service     string // name in cyrus.conf; "backupd" if empty
	Addr        string // of the peer, as Cyrus writes it: "name [ip]", "[ip]" or "[unix socket]"
	ImplicitTLS bool   // TLS begins with the first byte
	// Unix: the peer is at the other end of a UNIX socket and counts as logged
	// in, as an admin (backup/backupd.c, service_main).
	Unix     bool
	UnixUser string // what the peer of a UNIX socket is called; "cyrus" if empty
	// NoPassword: every password is right (option -N). For test beds.
	NoPassword bool
	// SSF is the strength of a protection outside of this program, such as a
	// tunnel (option -p).
	SSF int
	// Draining, when closed, ends the connection as the end of the context does,
	// but leaves a running command all the time it needs. nil = never.
	Draining <-chan struct{}
}

// addrText writes a as Cyrus does when there is no name for it.
func addrText(a net.Addr) string {
	if a == nil || a.Network() == "unix" {
		return "[unix socket]"
	}
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		host = a.String()
	}
	return "[" + host + "]"
}
