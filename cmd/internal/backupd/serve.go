package backupd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/master"
	"github.com/cyrusbackup/backupd/internal/saslconf"
	"github.com/cyrusbackup/backupd/internal/tlsconf"
	"github.com/cyrusbackup/backupd/internal/version"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

// backups is the real service: replication in front, partitions and index behind.
type backups struct {
	env    environment
	policy atomic.Pointer[policy]

	// What Open opened.
	index  *index.Index
	stores io.Closer
	set    *partitions.Set
	ctl    *control.Server
	meter  *metrics
}

// policy is what SIGHUP exchanges: it holds for new connections and new logins.
type policy struct {
	conf *imapconf.File
	auth *sasl.Authenticator
	tls  *tlsconf.Server

	mu     sync.Mutex
	server *replication.Server // nil until the first connection
	// others are of services whose connections other processes hand over: in imapd.conf
	// each has options of its own, or it has an imapd.conf of its own.
	others map[origin]*policy
}

// origin is where the settings of a connection stand.
type origin struct{ config, service string }

func originOf(c *master.Conn) origin { return origin{c.Config, c.Service} }

// newService checks all of the configuration and opens nothing.
func newService(env environment) (service, error) {
	b := &backups{env: env}
	p, err := b.newPolicy(env.conf)
	if err != nil {
		return nil, err
	}
	b.policy.Store(p)
	if _, err := lasting(env.conf, env.name); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *backups) newPolicy(conf *imapconf.File) (*policy, error) {
	opt, warnings, err := saslconf.Options(conf)
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		b.env.log.Warn(w)
	}
	auth, err := sasl.New(opt)
	if err != nil {
		return nil, err
	}
	t, err := tlsconf.Load(conf, b.env.log)
	if err != nil {
		return nil, err
	}
	return &policy{conf: conf, auth: auth, tls: t, others: map[origin]*policy{}}, nil
}

// policyOf is the policy of a service, by the imapd.conf that it was started with.
func (b *backups) policyOf(o origin) (*policy, error) {
	own := b.policy.Load()
	if o.config == "" {
		o.config = own.conf.Path()
	}
	if o == (origin{own.conf.Path(), b.env.name}) {
		return own, nil
	}
	own.mu.Lock()
	defer own.mu.Unlock()
	if p := own.others[o]; p != nil {
		return p, nil
	}
	conf, err := imapconf.Load(o.config, o.service)
	if err != nil {
		return nil, err
	}
	p, err := b.newPolicy(conf)
	if err != nil {
		return nil, err
	}
	own.others[o] = p
	return p, nil
}

// Index is the directory of the index.
func (b *backups) Index() string { return b.env.conf.String("backup_index_path") }

// Fingerprint names the partitions and the index.
func (b *backups) Fingerprint() string { return fingerprint(b.env.conf) }

func fingerprint(conf *imapconf.File) string {
	names, at, err := stores.Locations(conf)
	if err != nil {
		return err.Error()
	}
	sort.Strings(names)
	parts := []string{"index=" + filepath.Clean(conf.String("backup_index_path"))}
	for _, n := range names {
		parts = append(parts, n+"="+at[n].String())
	}
	return strings.Join(parts, " ")
}

// Open opens the index and the stores.
func (b *backups) Open(ctx context.Context) error {
	conf := b.env.conf
	limitMemory(conf.Size("backup_memory_limit"))
	var err error
	if b.meter, err = newMetrics(conf.String("backup_metrics_listen"), b.env.log); err != nil {
		return err
	}
	configs, closer, err := stores.Open(ctx, conf, stores.Options{
		Logger: b.env.log, Requests: conf.Int("backup_upload_concurrency") * 4, Observe: b.meter.stores.Hooks, Later: true,
	})
	if err != nil {
		return errors.Join(err, b.meter.close())
	}
	x, err := index.Open(b.Index(), index.Options{Logger: b.env.log, Reserve: conf.Size("backup_index_reserve"), Patient: true})
	if err != nil {
		return errors.Join(err, closer.Close(), b.meter.close())
	}
	if err := b.meter.watchIndex(x.Status); err != nil {
		return errors.Join(err, x.Close(), closer.Close(), b.meter.close())
	}
	opt, err := partitionOptions(conf)
	if err == nil {
		opt.Partitions, opt.Index, opt.Logger = configs, x, b.env.log
		b.set, err = partitions.Open(opt)
	}
	if err != nil {
		return errors.Join(err, x.Close(), closer.Close(), b.meter.close())
	}
	b.index, b.stores = x, closer
	if err := b.meter.registry.Register(newTroubleMetrics(b.set.Troubles)); err != nil {
		return errors.Join(err, b.closeStorage())
	}
	if b.ctl, err = control.Listen(conf.String("backup_control_socket"), b.env.log, b.control); err != nil {
		return errors.Join(err, b.closeStorage())
	}
	return nil
}

// limitMemory makes Go's collector work harder before the limit is reached. Half of
// the growth that it would allow by default keeps the peak near what is in use.
func limitMemory(n int64) {
	debug.SetMemoryLimit(n)
	debug.SetGCPercent(50)
}

func partitionOptions(conf *imapconf.File) (partitions.Options, error) {
	level, err := pack.ParseLevel(conf.Word("backup_compression"))
	if err != nil {
		return partitions.Options{}, conf.Errorf("backup_compression", "%v", err)
	}
	host, err := conf.ServerName()
	if err != nil {
		return partitions.Options{}, err
	}
	return partitions.Options{
		Names:          stores.Names(conf),
		Pack:           pack.Options{Level: level},
		PackSize:       conf.Size("backup_pack_size"),
		PackBuffers:    conf.Int("backup_pack_buffers"),
		InlineLimit:    conf.Size("backup_inline_limit"),
		ChunkThreshold: conf.Size("backup_chunk_threshold"),
		MemoryLimit:    conf.Size("backup_memory_limit") / 2,
		OutageWait:     conf.Duration("backup_outage_wait"),
		MissingRetry:   conf.Duration("backup_missing_retry"),
		Exclusive:      conf.Switch("backup_exclusive"),
		DedupPerBackup: conf.Word("backup_dedup") == "backup",
		Host:           host,
		Software:       version.Software(),
	}, nil
}

// Close closes what Open opened.
func (b *backups) Close() error { return errors.Join(b.ctl.Close(), b.closeStorage()) }

func (b *backups) closeStorage() error {
	return errors.Join(b.set.Close(), b.index.Close(), b.stores.Close(), b.meter.close())
}

// control answers the tools.
func (b *backups) control(ctx context.Context, r control.Request) control.Reply {
	switch r.Op {
	case "ping":
		return control.Reply{}
	case "reindex":
		if err := b.set.ReindexPath(ctx, r.Path); err != nil {
			return control.Reply{Error: err.Error()}
		}
		return control.Reply{}
	}
	return control.Reply{Error: fmt.Sprintf("%q is not known to this daemon", r.Op)}
}

// Reload takes on logins, TLS and the settings of connections. What the process began
// with takes a new one, and is tried before this one ends for it.
func (b *backups) Reload(ctx context.Context, conf *imapconf.File) error {
	p, err := b.newPolicy(conf)
	if err != nil {
		return err
	}
	was, errWas := lasting(b.env.conf, b.env.name)
	is, errIs := lasting(conf, b.env.name)
	if err := errors.Join(errWas, errIs); err != nil {
		return err
	}
	if was != is {
		if err := try(ctx, b.env.conf, conf); err != nil {
			return err
		}
		return master.ErrRecycle
	}
	b.policy.Store(p)
	return nil
}

// Serve serves one connection.
func (b *backups) Serve(ctx context.Context, c *master.Conn, ready func(context.Context) error, draining <-chan struct{}) {
	srv, err := b.server(originOf(c), ready)
	if err != nil {
		b.env.log.Error("connection refused", "peer", c.Peer, "err", err)
		c.Close()
		return
	}
	err = srv.ServeConn(ctx, c, replication.ConnOptions{
		Service: c.Service, Addr: c.Peer, ImplicitTLS: c.TLS, NoPassword: c.NoAuth, SSF: c.SSF,
		Unix: c.Kind == master.KindUnix, Draining: draining,
	})
	if err != nil {
		b.env.log.Info("connection ended", "peer", c.Peer, "err", err)
	}
}

// server is the one server of a service: what it knows of refusals is about all its connections.
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

// serverOptions: what a connection asks for anew is of the newest policy.
func (b *backups) serverOptions(was *policy, o origin, ready func(context.Context) error) replication.Options {
	conf := was.conf
	newest := func() *policy {
		if p, err := b.policyOf(o); err == nil {
			return p
		}
		return was
	}
	name, err := conf.ServerName()
	if err != nil {
		name = "localhost"
	}
	mask, err := umask(conf)
	if err != nil {
		mask = 0o077
	}
	return replication.Options{
		ServerName: name, Version: version.Number(),
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
		Telemetry: replication.Telemetry{
			Dir:         filepath.Join(conf.String("configdirectory"), "log"),
			Umask:       mask,
			BySessionID: conf.Switch("telemetry_bysessionid"),
		},
		SessionPrefix:   conf.String("syslog_prefix"),
		ShutdownMessage: func() (string, bool) { return master.ShutdownMessage(conf.String("configdirectory"), o.service) },
		OnState: func(s replication.ConnState) {
			b.env.observe(session{id: s.ID, host: s.Addr, user: s.User, ended: s.Ended})
		},
		Logger:  b.env.log,
		Backend: backend{b, ready},
	}
}

// offerCompress: auto is for clients that are neither on this host nor on a private
// network: there it makes the client twenty times dearer and the sync slower.
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

// backend gives sessions once the index is open.
type backend struct {
	b     *backups
	ready func(context.Context) error
}

// NewSession waits for the index: until this process has it, the client waits.
func (k backend) NewSession(ctx context.Context, peer replication.Peer) (replication.Session, error) {
	if err := k.ready(ctx); err != nil {
		return nil, fmt.Errorf("wait for the index: %w: %w", cyrus.ErrClose, err)
	}
	return k.b.set.NewSession(partitions.Who{Connection: peer.ID, Client: strings.TrimSpace(peer.User + " " + peer.Addr)}), nil
}

var _ replication.Session = (*partitions.Session)(nil)
