package backupd

import (
	"maps"

	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// readOthers reads the policies of other services again. One with a mistake keeps its former policy. If that
// has no scopes, the mistake may be in them, so that new connections are refused until it is mended.
func (b *backups) readOthers() (others map[origin]*policy, failed map[origin]bool) {
	own := b.policy.Load()
	own.mu.Lock()
	own.reads++
	others = maps.Clone(own.others)
	own.mu.Unlock()
	failed = map[origin]bool{}
	for o, was := range others {
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
	if p, failed := own.other(o); p != nil && !failed {
		return p, nil
	}
	return b.loadOther(own, o)
}

// newest returns the policy of a service for a connection that had the policy was. It has none if its first
// connection began during SIGHUP. If its settings cannot be read then, it keeps those: a command of a connection
// must not read files each time.
func (b *backups) newest(o origin, was *policy) *policy {
	own := b.policy.Load()
	if o = own.resolve(o); own.is(o, b.env.name) {
		return own
	}
	if p, _ := own.other(o); p != nil {
		return p
	}
	p, err := b.loadOther(own, o)
	if err != nil {
		b.keeps(o, was, err)
		p = own.keep(o, was)
	}
	return p
}

// loadOther reads the policy of another service, and again if SIGHUP came meanwhile.
func (b *backups) loadOther(own *policy, o origin) (*policy, error) {
	for {
		own.mu.Lock()
		reads := own.reads
		own.mu.Unlock()
		p, err := b.load(o)
		if err != nil {
			return nil, err
		}
		if p = own.add(o, p, reads); p != nil {
			return p, nil
		}
	}
}

// other returns the policy of another service, or nil, and whether it could not be read again.
func (p *policy) other(o origin) (other *policy, failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.others[o], p.failed[o]
}

// add adds the policy of another service, unless another connection was faster. It returns the valid one, or nil if
// they were read again since.
func (p *policy) add(o origin, other *policy, reads int) *policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch was := p.others[o]; {
	case p.reads != reads:
		return nil
	case was != nil && !p.failed[o]:
		return was
	}
	p.others[o], p.failed[o] = other, false
	return other
}

// keep adds the former policy of another service that cannot be read, and returns the valid one.
func (p *policy) keep(o origin, was *policy) *policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.others[o] == nil {
		p.others[o], p.failed[o] = was, true
	}
	return p.others[o]
}
