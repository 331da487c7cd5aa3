package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// dialTime limits the wait for an endpoint.
const dialTime = 10 * time.Second

// unreachable is the advice if a store does not answer.
const unreachable = "check the endpoint in the location, the network, and the firewall"

// endpoint checks the certificate of the store. It reports whether requests make sense.
func (p *partitionCheck) endpoint(ctx context.Context) bool {
	address, secure := p.address()
	if address == "" {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	if !secure {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			p.fail(p.where, unreachable, "%v", err)
			return false
		}
		_ = conn.Close() // nothing was sent
		if host, _, err := net.SplitHostPort(address); err == nil && !loopback(host) {
			p.warn(p.where, "use https for the endpoint, or remove tls=no", "mail crosses the network to the store in clear text")
		}
		return true
	}
	pool, err := p.authorities()
	if err != nil {
		p.fail(p.where, "correct ca= in the location", "%v", err)
		return false
	}
	host, _, _ := net.SplitHostPort(address)
	d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, InsecureSkipVerify: true}} //nolint:gosec // the chain is checked below, to say more about it
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		fix := unreachable
		if strings.Contains(err.Error(), "does not look like a TLS handshake") {
			fix = "add ?tls=no to the location, or give the store a certificate"
		}
		p.fail(p.where, fix, "%v", err)
		return false
	}
	defer conn.Close()
	secured, ok := conn.(*tls.Conn)
	return ok && p.verified(secured.ConnectionState().PeerCertificates, host, pool)
}

// verified checks the chain of the store.
func (p *partitionCheck) verified(chain []*x509.Certificate, host string, pool *x509.CertPool) bool {
	n := len(p.all)
	for _, cert := range chain {
		p.dates(&p.report, p.where, "renew the certificate of the store", cert)
	}
	between := x509.NewCertPool()
	for _, cert := range chain[min(1, len(chain)):] {
		between.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: host, Roots: pool, Intermediates: between, CurrentTime: p.Now()})
	if err != nil && Worst(p.all[n:]) < Error {
		p.fail(p.where, "ca=FILE in the location, with the authority of the store; or correct the name of the host", "the certificate of the store is not valid here: %v", err)
	}
	return Worst(p.all[n:]) < Error
}

// address returns host and port of the endpoint; "" for AWS itself.
func (p *partitionCheck) address() (address string, secure bool) {
	switch {
	case p.at.Scheme == objstore.MinIO:
		return withPort(p.at.Endpoint, p.at.TLS), p.at.TLS
	case p.at.Endpoint == "":
		return "", true
	}
	scheme, host, _ := strings.Cut(p.at.Endpoint, "://")
	return withPort(host, scheme == "https"), scheme == "https"
}

func withPort(host string, secure bool) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	if secure {
		return net.JoinHostPort(strings.Trim(host, "[]"), "443")
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), "80")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// authorities are those of the system, and those of the location.
func (p *partitionCheck) authorities() (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if p.at.CAFile == "" {
		return pool, nil
	}
	pem, err := os.ReadFile(p.at.CAFile)
	if err != nil {
		return nil, err
	}
	pool.AppendCertsFromPEM(pem)
	return pool, nil
}
