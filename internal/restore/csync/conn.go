package csync

import (
	"context"
	"errors"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/replication/client"
)

const (
	// exitPatience is how long a goodbye may take.
	exitPatience = 5 * time.Second
	// maxInARow is how many commands in a row may fail before a mailbox is given up. To
	// find one odd record among perBatch takes eleven.
	maxInARow = 48
)

// conn is a connection, which is replaced when the server cuts it.
type conn struct {
	*client.Client
	dial func(context.Context) (*client.Client, error)
	// What was uploaded, or reserved, in this unit of work, and for which partition.
	uploaded  map[cyrus.GUID]bool
	partition string
	size      int64 // bytes of it
	failed    int   // commands in a row that the server refused, or died of
	lost      bool  // there is no new connection in place of a broken one
}

func (d *Destination) connect(ctx context.Context) (*conn, error) {
	c, err := d.opt.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{Client: c, dial: d.opt.Dial}, nil
}

func (c *conn) fresh() { c.uploaded, c.size = nil, 0 }

// survive says whether the restore can go on after err: nil if the server refused
// something or cut the connection (a record on which an assertion of sync_server fails
// ends its process), and is there for the next command. Otherwise it returns err.
func (c *conn) survive(ctx context.Context, err error) error {
	var refused *client.Refusal
	switch {
	case ctx.Err() != nil, errors.Is(err, cyrus.ErrLocked), errors.Is(err, client.ErrPermission):
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

// replace makes a new connection in place of a broken one.
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

// close says goodbye; whether the server hears it no longer matters.
func (c *conn) close() {
	ctx, cancel := context.WithTimeout(context.Background(), exitPatience)
	defer cancel()
	_ = c.Exit(ctx)
}
