package backupd

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/master"
	"github.com/cyrusbackup/backupd/partitions"
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

// newService checks all of the configuration and opens nothing.
func newService(env environment) (service, error) {
	b := &backups{env: env}
	p, err := b.newPolicy(env.conf)
	if err != nil {
		return nil, err
	}
	b.policy.Store(p)
	if _, err := restartSettings(env.conf, env.name); err != nil {
		return nil, err
	}
	return b, nil
}

// Reload takes on logins, TLS and the settings of connections. What the process began
// with takes a new one, and is tried before this one ends for it.
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
		return master.ErrRecycle
	}
	b.policy.Store(p)
	return nil
}
