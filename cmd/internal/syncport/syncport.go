// Package syncport connects to the replication port (csync) of a Cyrus server, with the login and the
// TLS options of imapd.conf.
package syncport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/replication/client"
)

// ParseTo returns the server in the value of --to: SERVER, as in Dialer, or sync://SERVER. It refuses
// a value that was meant as files, and would be the name of a server. forms are the values to suggest.
func ParseTo(to, forms string) (server string, err error) {
	if !strings.HasPrefix(to, "/") && strings.Contains(to, "@") {
		// Not repeated, because there may be a password before the sign.
		return "", cli.Usagef("--to names a server without a user or a password: restore_authname in imapd.conf is the user; %s", forms)
	}
	if rest, ok := strings.CutPrefix(to, "sync:"); ok {
		rest = strings.TrimSuffix(strings.TrimPrefix(rest, "//"), "/")
		if rest == "" {
			return "", cli.Usagef("--to %s: names no server; %s", to, forms)
		}
		to = rest
	}
	if strings.HasPrefix(to, "/") {
		info, err := os.Stat(to)
		if errors.Is(err, os.ErrNotExist) {
			return "", cli.Usagef("--to %s: no such socket; %s", to, forms)
		}
		if err == nil && info.Mode()&os.ModeSocket == 0 {
			return "", cli.Usagef("--to %s: not a socket; %s", to, forms)
		}
		return to, nil
	}
	if strings.Contains(strings.TrimSuffix(to, "/tls"), "/") {
		return "", cli.Usagef("--to %s: neither a server nor a kind of file; %s", to, forms)
	}
	return to, nil
}

// defaultPort is used if /etc/services has no csync.
const defaultPort = "2005"

// Dialer returns a function that connects to server and logs in, with the restore_ options of
// imapd.conf, or else with the sync_ options. server is host, host:port, host:port/tls or the path of
// a socket. The function fails with an *UnreachableError if the server cannot be reached, or rejects the
// login. compress refuses a server without compression.
func Dialer(conf *imapconf.File, server string, compress bool) (func(context.Context) (*client.Client, error), error) {
	pick := func(option string) string {
		if v := conf.String("restore_" + option); v != "" {
			return v
		}
		return conf.String("sync_" + option)
	}
	o := client.Options{
		User: pick("authname"), Password: client.Secret(pick("password")),
		Mech: conf.String("force_sasl_client_mech"), Compress: compress, DialTimeout: conf.Duration("client_timeout"),
	}
	if realm := pick("realm"); realm != "" && !strings.Contains(o.User, "@") {
		o.User += "@" + realm
	}
	server, tlsFirst := strings.CutSuffix(server, "/tls")
	addr, err := address(server, conf.String("sync_port"))
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(addr, "/") {
		o.User, o.Password = "", "" // the socket's file permissions decide who may connect
	} else if o.User == "" {
		return nil, &cli.ConfigError{Err: fmt.Errorf("%s: restore_authname (or sync_authname) is not set: name the user to log in with at %s", conf.Path(), server)}
	}
	secure, err := TLSConfig(conf)
	if err != nil {
		return nil, &cli.ConfigError{Err: err}
	}
	if tlsFirst {
		o.TLS = secure
	}
	return func(ctx context.Context) (*client.Client, error) {
		c, err := client.Dial(ctx, addr, o)
		if err != nil && !tlsFirst && strings.Contains(err.Error(), "no usable SASL mechanism") {
			// The server offers passwords only over TLS: use TLS, as sync_client does.
			o := o
			o.TLS, o.StartTLS = secure, true
			c, err = client.Dial(ctx, addr, o)
		}
		if err != nil {
			return nil, &UnreachableError{server, err}
		}
		if compress && !c.Banner().Compress {
			_ = c.Close()
			return nil, fmt.Errorf("%s does not offer compression, which -z requires", server)
		}
		return c, nil
	}, nil
}

// UnreachableError reports a server that accepts no connection, or rejects the login.
type UnreachableError struct {
	server string
	err    error
}

// Error implements error.
func (e *UnreachableError) Error() string {
	return "cannot restore to " + e.server + ": " + e.err.Error()
}

// Unwrap returns the reason.
func (e *UnreachableError) Unwrap() error { return e.err }

// address returns host:port, or the path of a socket.
func address(server, port string) (string, error) {
	if strings.HasPrefix(server, "/") {
		return server, nil
	}
	host, p, err := net.SplitHostPort(server)
	if err != nil {
		host, p = strings.Trim(server, "[]"), port
	}
	if p == "" || p == "csync" {
		p = defaultPort
		if n, err := net.LookupPort("tcp", "csync"); err == nil {
			p = fmt.Sprint(n)
		}
	}
	if host == "" {
		return "", cli.Usagef("%q is not a server: write host, host:port or the path of a socket", server)
	}
	return net.JoinHostPort(host, p), nil
}

// TLSConfig returns the options of imapd.conf for TLS to another server: tls_server_ca_file,
// tls_client_cert and tls_client_key.
func TLSConfig(conf *imapconf.File) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca := conf.String("tls_server_ca_file"); ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate found", ca)
		}
	}
	cert, key := conf.String("tls_client_cert"), conf.String("tls_client_key")
	if cert != "" && cert != "disabled" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
