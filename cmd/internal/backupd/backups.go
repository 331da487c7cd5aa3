package backupd

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/clock"
	"github.com/cyrusbackup/backupd/cmd/internal/metrics"
	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/master"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/replication"
)

// backups is the real service: a replication server on top of partitions and the index.
type backups struct {
	env    environment
	policy atomic.Pointer[policy]
	since  time.Time

	clients connections
	logins  logins
	// refusals are commands on backups outside the scope of their login.
	refusals *refusals
	// commands is the memory of commands of all services.
	commands *replication.CommandMemory

	// Set by Open.
	index  *index.Index
	stores io.Closer
	set    *partitions.Set
	ctl    *control.Server

	profiles profiles
	meter    *metrics.Metrics
}

// newService checks the whole configuration and opens nothing.
func newService(env environment) (service, error) {
	b := &backups{env: env, since: clock.Now(), commands: replication.NewCommandMemory(commandMemory(env.conf)),
		refusals: &refusals{log: env.log, now: clock.Now}}
	p, err := b.newPolicy(env.conf)
	if err != nil {
		return nil, err
	}
	b.policy.Store(p)
	if _, err := restartSettings(env.conf, env.name); err != nil {
		return nil, err
	}
	b.meter, err = metrics.New(metrics.Options{
		Logger: env.log, Now: clock.Now, Connections: b.clients.number,
		MemoryLimit: env.conf.Size("backup_memory_limit"), Reserve: env.conf.Size("backup_index_reserve"),
	})
	return b, err
}

// Reload applies changes to logins, TLS and connections. Other changes need a new process;
// Reload tries them before this process ends.
func (b *backups) Reload(ctx context.Context, conf *imapconf.File) error {
	p, err := b.newPolicy(conf)
	if err != nil {
		return err
	}
	was, errWas := restartSettings(b.env.conf, b.env.name)
	is, errIs := restartSettings(conf, b.env.name)
	if err := errors.Join(errWas, errIs); err != nil {
		return err
	}
	if was != is {
		if err := try(ctx, b.env.conf, conf); err != nil {
			return err
		}
		others, _ := b.readOthers()
		b.limitNow(p, others)
		return master.ErrRecycle
	}
	p.others, p.failed = b.readOthers()
	b.policy.Store(p)
	return nil
}
