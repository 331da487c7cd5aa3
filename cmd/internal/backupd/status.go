package backupd

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/clock"
	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/internal/version"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/replication"
)

// connections are the clients that are connected.
type connections struct {
	mu   sync.Mutex
	byID map[string]control.Connection
}

// note follows the beginning, the login and the end of a connection. It reports whether this is the
// beginning.
func (c *connections) note(s replication.ConnState) (begun bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.Ended {
		delete(c.byID, s.ID)
		return false
	}
	v, there := c.byID[s.ID]
	if !there {
		v.Since = clock.Now()
	}
	v.Host, v.User = s.Addr, s.User
	if c.byID == nil {
		c.byID = map[string]control.Connection{}
	}
	c.byID[s.ID] = v
	return !there
}

func (c *connections) number() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byID)
}

// list returns the connections, the oldest first.
func (c *connections) list() []control.Connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.SortedFunc(maps.Values(c.byID), func(a, b control.Connection) int { return a.Since.Compare(b.Since) })
}

// status returns what ctl_backups status shows of this host. Without the index it returns the rest,
// and an error.
func (b *backups) status() (*control.Status, error) {
	x := b.index.Status()
	out := &control.Status{Daemon: control.Daemon{
		Version: version.Number(), PID: os.Getpid(), Since: b.since, Connections: b.clients.list(),
		Index:  control.Index{Open: x.Open, Bytes: x.Bytes, Free: x.Free, Reserve: b.env.conf.Size("backup_index_reserve"), SetAside: x.SetAside},
		Logins: b.logins.status(), Requests: b.meter.Stores.Charged(),
	}}
	s, err := b.set.Status()
	if err != nil {
		return out, err
	}
	out.Set, err = json.Marshal(s)
	return out, err
}

// sendStatus answers the request for the status. If the backups were never counted, or long ago, that
// begins now.
func (b *backups) sendStatus(part func(any) error) error {
	if at, err := b.set.Counted(); err != nil || time.Since(at) > partitions.CensusAge {
		b.set.BeginCensus()
	}
	s, err := b.status()
	if perr := part(s); perr != nil {
		return perr
	}
	return err
}

// leaveStatus writes the status for the time without a daemon. A file that cannot be written only makes
// ctl_backups status say less.
func (b *backups) leaveStatus() {
	s, err := b.status()
	if err == nil {
		s.Daemon.Ended, s.Daemon.Connections = clock.Now(), nil
		err = control.WriteStatus(control.StatusPath(b.Index()), s)
	}
	if err != nil {
		b.env.log.Info("ctl_backups status will know less until backupd is started again", "err", err)
	}
}
