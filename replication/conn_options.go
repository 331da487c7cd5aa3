package replication

import "net"

// ConnOptions are the properties of one connection that its listener knows.
type ConnOptions struct {
	Service     string // name in cyrus.conf; "backupd" if empty
	Addr        string // of the peer, as Cyrus writes it: "name [ip]", "[ip]" or "[unix socket]"
	ImplicitTLS bool   // TLS begins with the first byte
	// Unix: the peer is connected to a UNIX socket and counts as logged in, as an admin
	// (backup/backupd.c, service_main).
	Unix     bool
	UnixUser string // name for the peer of a UNIX socket; "cyrus" if empty
	// NoPassword accepts every password (option -N). For test beds.
	NoPassword bool
	// SSF is the strength of a protection outside this program, such as a tunnel (option
	// -p).
	SSF int
	// Draining, when closed, ends the connection like the end of the context, but without a
	// time limit for a running command. nil = never.
	Draining <-chan struct{}
	// LoggedIn is called when the client has logged in as an admin, on a socket of the network. nil = no
	// call.
	LoggedIn func()
}

// addrText formats a as Cyrus does for an address without a name.
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
