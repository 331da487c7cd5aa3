package replication

import "sync"

// cleartext remembers which clients have logged in without TLS, so that each one is reported
// once. A certificate alone does not make a client use TLS: sync_client sends STARTTLS only if it
// finds no mechanism without it (replication-protocol.md 1.5).
type cleartext struct {
	mu   sync.Mutex
	seen map[string]struct{}
}

// first reports whether the client has not been reported yet. At most rememberMax clients are
// remembered; beyond that all are forgotten, which costs a few lines in the log.
func (t *cleartext) first(client string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.seen[client]; ok {
		return false
	}
	if t.seen == nil || len(t.seen) >= rememberMax {
		t.seen = make(map[string]struct{})
	}
	t.seen[client] = struct{}{}
	return true
}

// warnCleartext logs a warning if the client could have used TLS and did not. Another program in
// front of this one, such as a tunnel, may protect the connection (SSF).
func (c *conn) warnCleartext() {
	if c.tls || c.opt.Unix || c.opt.SSF > 1 || c.opt.NoPassword || c.tlsConfig == nil {
		return
	}
	if c.srv.clear.first(printable(c.user) + " " + c.opt.Addr) {
		c.log().Warn("this client does not use TLS although a certificate is configured: its mail crosses the network in clear text. "+
			"tls_required: yes refuses such logins", "user", c.user, "client", c.opt.Addr)
	}
}
