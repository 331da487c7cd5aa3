package backupd

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/master"
	"github.com/cyrusbackup/backupd/internal/scopes"
	"github.com/cyrusbackup/backupd/internal/version"
	"github.com/cyrusbackup/backupd/partitions/session"
	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

// Serve serves one connection.
func (b *backups) Serve(ctx context.Context, c *master.Conn, ready func(context.Context) error, draining <-chan struct{}) {
	srv, err := b.server(originOf(c), ready)
	if err != nil {
		b.env.log.Error("connection refused", "peer", c.Peer, "err", err)
		_ = c.Close()
		return
	}
	err = srv.ServeConn(ctx, c, replication.ConnOptions{
		Service: c.Service, Addr: c.Peer, ImplicitTLS: c.TLS, NoPassword: c.NoAuth, SSF: c.SSF,
		Unix: c.Kind == master.KindUnix, Draining: draining,
		LoggedIn: c.LoggedIn,
	})
	if err != nil {
		b.env.log.Info("connection ended", "peer", c.Peer, "err", err)
	}
}

// server returns the server of a service. All connections of a service share one server,
// because it counts refused logins across them.
func (b *backups) server(o origin, ready func(context.Context) error) (*replication.Server, error) {
	p, err := b.policyOf(o)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		return p.server, nil
	}
	p.server, err = replication.NewServer(b.serverOptions(p, o, ready))
	return p.server, err
}

// serverOptions makes the options of a service's server. Values that connections ask for
// later, such as the TLS configuration, come from the newest policy.
func (b *backups) serverOptions(was *policy, o origin, ready func(context.Context) error) replication.Options {
	conf := was.conf
	newest := func() *policy { return b.newest(o, was) }
	return replication.Options{
		ServerName: was.name, Version: version.Number(),
		SyncTimeout:      conf.Duration("sync_timeout"),
		FailedLoginPause: conf.Duration("failedloginpause"),
		StopGrace:        master.AbandonAfter / 2,
		TLS:              func() *tls.Config { return newest().tls.Config() },
		NoStartTLS:       !conf.Switch("allowstarttls"),
		Authenticator:    func() *sasl.Authenticator { return newest().auth },
		OfferCompress:    offerCompress(conf.Word("backup_offer_compress")),
		Limits: dlist.Limits{
			MaxWord: int(conf.Size("maxword")), MaxQuoted: int(conf.Size("maxquoted")), MaxLiteral: conf.Size("backup_max_literal"),
		},
		CommandMemory: b.commands,
		Telemetry: replication.Telemetry{
			Dir:         filepath.Join(conf.String("configdirectory"), "log"),
			Umask:       was.umask,
			BySessionID: conf.Switch("telemetry_bysessionid"),
		},
		SessionPrefix:   conf.String("syslog_prefix"),
		ShutdownMessage: func() (string, bool) { return master.ShutdownMessage(conf.String("configdirectory"), o.service) },
		OnState: func(s replication.ConnState) {
			if b.clients.note(s) {
				b.meter.Connected()
			}
			b.env.observe(connection{id: s.ID, host: s.Addr, user: s.User, ended: s.Ended})
		},
		OnLogin: b.logins.note,
		Events:  b.meter.Events(),
		Logger:  b.env.log,
		Backend: backend{b, ready, func() *scopes.Table { return newest().scopes.Load() }},
	}
}

// commandMemory returns what the arguments of all commands may take: an eighth of the limit, and at
// least what the largest literal needs.
func commandMemory(conf *imapconf.File) int64 {
	return max(conf.Size("backup_memory_limit")/8, 2*conf.Size("backup_max_literal")+4<<20)
}

// offerCompress decides whether to offer compression to a client. auto excludes clients on
// this host and on private networks: there compression costs the client ten to fifty times the CPU
// and makes the sync slower.
func offerCompress(word string) func(net.Addr) bool {
	return func(a net.Addr) bool {
		if word != "auto" {
			return word == "yes"
		}
		if a == nil {
			return false
		}
		ap, err := netip.ParseAddrPort(a.String())
		if err != nil {
			return false
		}
		ip := ap.Addr().Unmap()
		return !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast()
	}
}

// backend creates sessions after the index is open.
type backend struct {
	b      *backups
	ready  func(context.Context) error
	scopes func() *scopes.Table // nil result: every login may touch every backup
}

// NewSession waits until this process has opened the index.
func (k backend) NewSession(ctx context.Context, peer replication.Peer) (replication.Session, error) {
	if err := k.ready(ctx); err != nil {
		return nil, fmt.Errorf("wait for the index: %w: %w", cyrus.ErrClose, err)
	}
	return session.New(k.b.set, session.Who{
		Connection: peer.ID, Client: strings.TrimSpace(peer.User + " " + peer.Addr), Login: loginOf(peer),
		Scope: scopeOf(k.scopes, loginOf(peer), peer.Addr, k.b.refusals),
	}), nil
}

var _ replication.Session = (*session.Session)(nil)
