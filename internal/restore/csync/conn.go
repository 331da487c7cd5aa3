package csync

import (
	"context"
	"errors"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/replication/client"
)

const (
	// exitTimeout limits the closing of a connection.
	exitTimeout = 5 * time.Second
	// maxInARow is how many commands in a row may fail before a mailbox is abandoned. Finding one
	// odd record among perBatch takes eleven.
	maxInARow = 48
)

// conn is a connection that is replaced when the server closes it.
type conn struct {
	*client.Client
	dial func(context.Context) (*client.Client, error)
	// Messages that were uploaded or reserved in this unit of work, and their partition.
	uploaded  map[cyrus.GUID]bool
	partition string
	size      int64 // in bytes
	failed    int   // commands in a row that the server refused, or that crashed it
	lost      bool  // a broken connection could not be replaced
}

func (d *Destination) connect(ctx context.Context) (*conn, error) {
	c, err := d.opt.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{Client: c, dial: d.opt.Dial}, nil
}

func (c *conn) fresh() { c.uploaded, c.size = nil, 0 }

// survive returns nil if the restore can continue after err: the server refused something, or
// closed the connection (a record that fails an assertion ends the sync_server process) and
// accepts a new one. Otherwise it returns err.
func (c *conn) survive(ctx context.Context, err error) error {
	var refused *client.RefusedError
	switch {
	case ctx.Err() != nil, errors.Is(err, cyrus.ErrLocked), errors.Is(err, client.ErrPermission), errors.Is(err, client.ErrIdle):
		return err
	case !c.Broken() && !errors.As(err, &refused): // the backup cannot be read
		return err
	}
	if c.Broken() && c.replace(ctx) != nil {
		return err
	}
	if c.failed++; c.failed > maxInARow {
		return err
	}
	return nil
}

// replace opens a new connection instead of a broken one.
func (c *conn) replace(ctx context.Context) error {
	_ = c.Close()
	c.fresh()
	next, err := c.dial(ctx)
	if err != nil {
		c.lost = true
		return err
	}
	c.Client = next
	return nil
}

// close sends EXIT and ignores whether the server receives it.
func (c *conn) close() {
	ctx, cancel := context.WithTimeout(context.Background(), exitTimeout)
	defer cancel()
	_ = c.Exit(ctx)
}
