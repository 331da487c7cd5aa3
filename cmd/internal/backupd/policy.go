package backupd

import (
	"io/fs"
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
	failed map[origin]bool // others that could not be read again: new connections try it
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
	p := &policy{conf: conf, auth: auth, tls: t, name: name, umask: mask, others: map[origin]*policy{}, failed: map[origin]bool{}}
	p.scopes.Store(table)
	return p, nil
}

// readOthers reads the policies of other services again. One with a mistake keeps its former policy. If that
// has no scopes, the mistake may be in them, so that new connections are refused until it is mended.
func (b *backups) readOthers() (others map[origin]*policy, failed map[origin]bool) {
	own := b.policy.Load()
	own.mu.Lock()
	defer own.mu.Unlock()
	others, failed = map[origin]*policy{}, map[origin]bool{}
	for o, was := range own.others {
		p, err := b.load(o)
		if err != nil {
			b.keeps(o, was, err)
			p, failed[o] = was, was.scopes.Load() == nil
		}
		others[o] = p
	}
	return others, failed
}

func (b *backups) keeps(o origin, was *policy, err error) {
	text := "the settings of another service cannot be read: it keeps its former ones"
	if was.scopes.Load() == nil {
		text += " for the clients that are connected, and refuses others"
	}
	b.env.log.Error(text, "config", o.config, "service", o.service, "err", err)
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

// policyOf returns the policy of a service with the imapd.conf that it was started with, for a new connection.
func (b *backups) policyOf(o origin) (*policy, error) {
	own := b.policy.Load()
	if o = own.resolve(o); own.is(o, b.env.name) {
		return own, nil
	}
	own.mu.Lock()
	defer own.mu.Unlock()
	if p := own.others[o]; p != nil && !own.failed[o] {
		return p, nil
	}
	p, err := b.load(o)
	if err != nil {
		return nil, err
	}
	own.others[o], own.failed[o] = p, false
	return p, nil
}

// newest returns the policy of a service for a connection that had the policy was. It has none if its first
// connection began during SIGHUP. If its settings cannot be read then, it keeps those: a command of a connection
// must not read files each time.
func (b *backups) newest(o origin, was *policy) *policy {
	own := b.policy.Load()
	if o = own.resolve(o); own.is(o, b.env.name) {
		return own
	}
	own.mu.Lock()
	defer own.mu.Unlock()
	if p := own.others[o]; p != nil {
		return p
	}
	p, err := b.load(o)
	if err != nil {
		b.keeps(o, was, err)
		p = was
	}
	own.others[o], own.failed[o] = p, err != nil
	return p
}

// resolve names the imapd.conf of a service that was started without one.
func (p *policy) resolve(o origin) origin {
	if o.config == "" {
		o.config = p.conf.Path()
	}
	return o
}

func (p *policy) is(o origin, service string) bool { return o == origin{p.conf.Path(), service} }
