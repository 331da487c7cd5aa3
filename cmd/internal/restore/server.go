package restore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/csync"
	"github.com/cyrusbackup/backupd/internal/restore/files"
	"github.com/cyrusbackup/backupd/internal/restore/imapdest"
	"github.com/cyrusbackup/backupd/replication/client"
)

func (j *job) destination(rep *restore.Report) (destination, error) {
	domain := j.bucket.Conf.String("defaultdomain")
	switch j.toFiles {
	case "":
		return j.cyrus(rep)
	case "imap":
		at, err := imapdest.ParseLocation(j.server)
		if err != nil {
			return nil, cli.Usagef("--to: %v", err)
		}
		secure, err := tlsConfig(j.bucket.Conf)
		if err != nil {
			return nil, &cli.ConfigError{Err: err}
		}
		secure.ServerName, _, _ = net.SplitHostPort(at.Addr)
		password, err := j.password()
		if err != nil {
			return nil, err
		}
		return imapdest.New(j.src, rep, at, imapdest.Options{Password: password, TLS: secure, Parallel: j.parallel,
			NewestFirst: j.newestFirst, DryRun: j.dryRun, Verbose: j.verbose, Journal: j.journalDir(), Target: j.selection.Target,
			DefaultDomain: domain, DeletedPrefix: j.selection.DeletedPrefix}), nil
	}
	return files.New(j.src, rep, files.Options{Kind: j.toFiles, Path: j.server, DryRun: j.dryRun, Verbose: j.verbose, Lossy: j.lossy, Many: j.chosen != nil,
		DefaultDomain: domain, DeletedPrefix: j.selection.DeletedPrefix, AdminForm: j.selection.AdminForm}), nil
}

// password returns the password of an IMAP account, from a file or the environment, which
// other users of the host cannot see.
func (j *job) password() (string, error) {
	if j.passwordFile != "" {
		b, err := os.ReadFile(j.passwordFile)
		line, _, _ := strings.Cut(string(b), "\n")
		return strings.TrimSuffix(line, "\r"), err
	}
	if p, ok := os.LookupEnv("RESTORE_IMAP_PASSWORD"); ok {
		return p, nil
	}
	return "", cli.Usagef("the password is missing: RESTORE_IMAP_PASSWORD in the environment, or --password-file")
}

func (j *job) cyrus(rep *restore.Report) (destination, error) {
	dial, err := dialer(j.bucket.Conf, j.server, j.compress)
	if err != nil {
		return nil, err
	}
	var target func(string) string
	if len(j.selection.Moves) > 0 {
		target = j.selection.Target
	}
	return csync.New(j.src, rep, csync.Options{
		Target: target,
		Dial:   dial, Parallel: j.parallel, Partition: j.partition, ACL: j.acl, KeepUIDs: j.keepUIDs,
		Undelete: j.current(), Local: j.local, NewestFirst: j.newestFirst,
		FlagsOnly: j.flagsOnly, DryRun: j.dryRun, Verbose: j.verbose,
		DeletedPrefix: j.selection.DeletedPrefix, DefaultDomain: j.bucket.Conf.String("defaultdomain"),
	}), nil
}

// csyncPort is used if /etc/services has no csync.
const csyncPort = "2005"

// dialer connects with the restore_ options of imapd.conf, or else with the sync_ options.
func dialer(conf *imapconf.File, server string, compress bool) (func(context.Context) (*client.Client, error), error) {
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
	secure, err := tlsConfig(conf)
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
			return nil, &unreachable{server, err}
		}
		if compress && !c.Banner().Compress {
			_ = c.Close()
			return nil, fmt.Errorf("%s does not offer compression, which -z requires", server)
		}
		return c, nil
	}, nil
}

// unreachable reports a server that accepts no connection, or rejects the login.
type unreachable struct {
	server string
	err    error
}

func (e *unreachable) Error() string { return "cannot restore to " + e.server + ": " + e.err.Error() }
func (e *unreachable) Unwrap() error { return e.err }

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
		p = csyncPort
		if n, err := net.LookupPort("tcp", "csync"); err == nil {
			p = fmt.Sprint(n)
		}
	}
	if host == "" {
		return "", cli.Usagef("%q is not a server: write host, host:port or the path of a socket", server)
	}
	return net.JoinHostPort(host, p), nil
}

func tlsConfig(conf *imapconf.File) (*tls.Config, error) {
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
