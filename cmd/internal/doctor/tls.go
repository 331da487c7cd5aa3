package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/tlsconf"
)

// certificates checks TLS for clients.
func (c *checkup) certificates() {
	n := len(c.all)
	server, err := tlsconf.Load(c.conf, slog.New(slog.DiscardHandler))
	where := c.conf.Origin("tls_server_cert").String()
	switch {
	case err != nil:
		for _, e := range flat(err) {
			place, text, fix := located(e)
			if strings.Contains(text, "permission denied") {
				fix = "chgrp " + c.user.Group + " FILE && chmod 640 FILE, and chmod a+x its directories"
			}
			c.fail(place, fix, "%s", text)
		}
		return
	case server == nil && c.local():
		c.ok(c.Config, "off; the service listens only on this host")
		return
	case server == nil:
		c.warn(c.Config, "tls_server_cert: FILE, tls_server_key: FILE and tls_required: yes", "off: mail crosses the network in clear text")
		return
	case !c.conf.Switch("allowstarttls"):
		c.fail(c.conf.Origin("allowstarttls").String(), "allowstarttls: yes", "allowstarttls is off: the certificate is not used")
	case !c.conf.Switch("tls_required") && !c.local():
		c.warn(where, "tls_required: yes", "TLS is not required: sync_client logs in with SCRAM and sends mail in clear text")
	}
	for _, pair := range server.Config().Certificates {
		c.chain(&c.report, where, c.conf.String("tls_server_cert"), pair)
	}
	if c.sound(n) {
		c.ok(where, "valid for more than three weeks")
	}
}

// chain checks the dates of a certificate, and the order of its chain.
func (c *checkup) chain(r *report, where, file string, pair tls.Certificate) {
	var above *x509.Certificate
	for i := len(pair.Certificate) - 1; i >= 0; i-- {
		cert, err := x509.ParseCertificate(pair.Certificate[i])
		if err != nil {
			r.fail(where, "renew "+file, "%s: %v", file, err)
			return
		}
		c.dates(r, where, "renew "+file, cert)
		if above != nil && cert.CheckSignatureFrom(above) != nil {
			r.fail(where, "put the certificate first into "+file+", then each issuer: cat cert.pem chain.pem", "%q is not signed by %q, the next in the file", cert.Subject, above.Subject)
			return
		}
		above = cert
	}
}

// dates checks that a certificate is valid now, and for a while.
func (c *checkup) dates(r *report, where, fix string, cert *x509.Certificate) {
	now := c.Now()
	switch {
	case now.After(cert.NotAfter):
		r.fail(where, fix, "the certificate %q has expired at %s", cert.Subject, stamp(cert.NotAfter))
	case now.Before(cert.NotBefore):
		r.fail(where, "correct the clock (NTP), or "+fix, "the certificate %q is valid only from %s", cert.Subject, stamp(cert.NotBefore))
	case cert.NotAfter.Sub(now) < c.Soon:
		r.warn(where, fix, "the certificate %q expires at %s", cert.Subject, stamp(cert.NotAfter))
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// local reports whether the service listens only to this host: at a socket, or on loopback.
func (c *checkup) local() bool {
	text, err := os.ReadFile(c.CyrusConf)
	if err != nil {
		return false
	}
	for _, e := range daemons(parseCyrusConf(string(text))) {
		listen := e.value["listen"]
		if !strings.HasPrefix(listen, "/") && !strings.HasPrefix(listen, "127.") && !strings.HasPrefix(listen, "localhost:") && !strings.HasPrefix(listen, "[::1]") {
			return false
		}
	}
	return len(daemons(parseCyrusConf(string(text)))) > 0
}
