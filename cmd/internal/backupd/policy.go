package backupd

import (
	"io/fs"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/master"
	"github.com/cyrusbackup/backupd/internal/saslconf"
	"github.com/cyrusbackup/backupd/internal/scopes"
	"github.com/cyrusbackup/backupd/internal/tlsconf"
	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

// policy is replaced by SIGHUP. It applies to new connections and new logins.
type policy struct {
	conf   *imapconf.File
	auth   *sasl.Authenticator
	tls    *tlsconf.Server
	name   string                       // of this host, in greetings
	umask  fs.FileMode                  // of telemetry files
	scopes atomic.Pointer[scopes.Table] // nil: every login may touch every backup

	mu     sync.Mutex
	server *replication.Server // nil until the first connection
	// others are the policies of services whose connections other processes hand over. A
	// service may have its own options in imapd.conf, or another imapd.conf.
	others map[origin]*policy
}

// origin identifies the settings of a connection.
type origin struct{ config, service string }

func originOf(c *master.Conn) origin { return origin{c.Config, c.Service} }

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
	name, err := conf.ServerName()
	if err != nil {
		return nil, err
	}
	mask, err := umask(conf)
	if err != nil {
		return nil, err
	}
	table, err := stores.Scopes(conf)
	if err != nil {
		return nil, err
	}
	p := &policy{conf: conf, auth: auth, tls: t, name: name, umask: mask, others: map[origin]*policy{}}
	p.scopes.Store(table)
	return p, nil
}

// readOthers reads the policies of other services again. One with a mistake keeps its former policy, as this
// service does.
func (b *backups) readOthers() map[origin]*policy {
	out := b.policy.Load().knownOthers()
	for o, was := range out {
		p, err := b.load(o)
		if err != nil {
			b.keeps(o, err)
			p = was
		}
		out[o] = p
	}
	return out
}

func (p *policy) knownOthers() map[origin]*policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.others)
}

func (b *backups) keeps(o origin, err error) {
	b.env.log.Error("the settings of another service cannot be read: it keeps its former ones", "config", o.config, "service", o.service, "err", err)
}

// limitNow applies the scopes of new policies to the connections of this process, which end only after a
// while if other changes need a new process.
func (b *backups) limitNow(newest *policy, others map[origin]*policy) {
	own := b.policy.Load()
	own.scopes.Store(newest.scopes.Load())
	own.mu.Lock()
	defer own.mu.Unlock()
	for o, p := range others {
		own.others[o].scopes.Store(p.scopes.Load())
	}
}

// load reads the policy of a service.
func (b *backups) load(o origin) (*policy, error) {
	conf, err := imapconf.Load(o.config, o.service)
	if err != nil {
		return nil, err
	}
	return b.newPolicy(conf)
}

// policyOf returns the policy of a service with the imapd.conf that it was started with.
func (b *backups) policyOf(o origin) (*policy, error) {
	own := b.policy.Load()
	o = own.resolve(o)
	if o == (origin{own.conf.Path(), b.env.name}) {
		return own, nil
	}
	if p := own.other(o); p != nil {
		return p, nil
	}
	p, err := b.load(o) // without a lock: other services do not wait for these files
	if err != nil {
		return nil, err
	}
	return own.add(o, p), nil
}

// newest returns the policy of a service that has connections. It has none if its first connection began during
// SIGHUP. If its settings cannot be read then, it keeps those of the connection, which are not read again at
// each command.
func (b *backups) newest(o origin, was *policy) *policy {
	p, err := b.policyOf(o)
	if err == nil {
		return p
	}
	own := b.policy.Load()
	o = own.resolve(o)
	b.keeps(o, err)
	return own.add(o, was)
}

func (p *policy) resolve(o origin) origin {
	if o.config == "" {
		o.config = p.conf.Path()
	}
	return o
}

func (p *policy) other(o origin) *policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.others[o]
}

// add keeps the policy of another service, and returns the one that was kept first.
func (p *policy) add(o origin, other *policy) *policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	if was := p.others[o]; was != nil {
		return was
	}
	p.others[o] = other
	return other
}
