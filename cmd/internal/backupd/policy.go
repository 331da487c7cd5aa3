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

	mu     sync.Mutex          // not held while a file is read
	server *replication.Server // nil until the first connection
	// others are the policies of services whose connections other processes hand over. A
	// service may have its own options in imapd.conf, or another imapd.conf.
	others map[origin]*policy
	failed map[origin]bool // others that could not be read again: new connections try it
	reads  int             // how often others have been read again
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

// resolve names the imapd.conf of a service that was started without one.
func (p *policy) resolve(o origin) origin {
	if o.config == "" {
		o.config = p.conf.Path()
	}
	return o
}

func (p *policy) is(o origin, service string) bool { return o == origin{p.conf.Path(), service} }
