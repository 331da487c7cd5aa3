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

// readOthers reads the policies of other services with scopes again. One with a mistake keeps its former
// policy. The policies without scopes are read by the next connection.
func (b *backups) readOthers() map[origin]*policy {
	own := b.policy.Load()
	own.mu.Lock()
	defer own.mu.Unlock()
	out := map[origin]*policy{}
	for o, was := range own.others {
		p, err := b.load(o)
		switch had := was.scopes.Load() != nil; {
		case err == nil && (had || p.scopes.Load() != nil):
			out[o] = p
		case err != nil && had:
			b.env.log.Error("the settings of another service cannot be read: it keeps its former ones", "config", o.config, "service", o.service, "err", err)
			out[o] = was
		}
	}
	return out
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
	p, err := b.load(o)
	if err != nil {
		return nil, err
	}
	own.others[o] = p
	return p, nil
}
