package csync

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/replication/client"
)

// Options configure the connection to a destination and the treatment of mailboxes.
type Options struct {
	Dial      func(context.Context) (*client.Client, error)
	Parallel  int     // connections; 0 = 1
	Partition string  // of new mailboxes; "" = as in the backup
	ACL       *string // of new mailboxes; nil = as in the backup, "" = the server's default
	KeepUIDs  bool    // keep uniqueid, uidvalidity, uids and modseqs
	// Undelete allows KeepUIDs to rename a deleted mailbox back if it has the wanted uniqueid.
	Undelete    bool
	Local       bool // RESTORE LOCAL_MAILBOX
	NewestFirst bool
	FlagsOnly   bool // only reset the flags of existing messages
	DryRun      bool
	Verbose     int
	// Target returns the name of a mailbox at the destination, which may belong to another user;
	// nil = the same name. Account data follows the mailboxes.
	Target        func(name string) string
	DeletedPrefix string
	DefaultDomain string
}

// Destination is a Cyrus server.
type Destination struct {
	opt Options
	src *restore.Source
	rep *restore.Report
	*survey
}

// New returns a destination for messages of src.
func New(src *restore.Source, rep *restore.Report, o Options) *Destination {
	return &Destination{opt: o, src: src, rep: rep}
}

// Restore restores the folders, then the account data (nil: none). Problems with one folder go to
// the Report and stop neither the other folders nor Restore.
func (d *Destination) Restore(ctx context.Context, folders []*restore.Folder, account *restore.Account) error {
	if account != nil {
		account = d.readdress(account)
	}
	first, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { first.close() }()
	if d.survey, err = look(ctx, first.Client, folders, account); err != nil {
		return err
	}
	if err := d.folders(ctx, first, folders); err != nil || account == nil || d.opt.FlagsOnly {
		return err
	}
	return d.account(ctx, first, account)
}

// folders restores the folders over several connections, starting with first.
func (d *Destination) folders(ctx context.Context, first *conn, folders []*restore.Folder) error {
	return restore.FanOut(ctx, folders, d.opt.Parallel, func(ctx context.Context, worker int, queue <-chan *restore.Folder) error {
		c := first
		if worker > 0 {
			var err error
			if c, err = d.connect(ctx); err != nil {
				return err
			}
			defer c.close()
		}
		for f := range queue {
			if err := d.one(ctx, c, f); err != nil {
				return err
			}
		}
		return nil
	})
}

// one restores a folder. An error ends the whole restore, because no other folder could follow.
func (d *Destination) one(ctx context.Context, c *conn, f *restore.Folder) error {
	do := d.folder
	if d.opt.FlagsOnly {
		do = d.flags
	}
	err := do(ctx, c, f)
	switch {
	case err == nil:
		d.rep.Folder()
		return nil
	case errors.Is(err, errAbsent):
		d.rep.Fail(err)
		return nil
	}
	err = fmt.Errorf("%s: %w", f.Name, d.explain(err))
	if !d.concernsFolder(ctx, c, err) {
		return err
	}
	d.rep.Fail(err)
	// Messages that were uploaded for this folder are no longer needed.
	c.fresh()
	return c.Restart(ctx)
}

// concernsFolder reports whether other folders can still be restored after err: the server refused
// something, or closed the connection and accepts a new one.
func (d *Destination) concernsFolder(ctx context.Context, c *conn, err error) bool {
	var refused *client.RefusedError
	switch {
	case ctx.Err() != nil, c.lost, errors.Is(err, client.ErrPermission), errors.Is(err, client.ErrIdle):
		return false
	case c.Broken():
		c.failed++
		return c.failed <= maxInARow && c.replace(ctx) == nil
	}
	return errors.As(err, &refused)
}

// explain adds advice to an unspecific error.
func (d *Destination) explain(err error) error {
	var refused *client.RefusedError
	if !errors.As(err, &refused) {
		return err
	}
	switch {
	case errors.Is(err, client.ErrPermission):
		return fmt.Errorf("%w: the login there must be listed in admins of the server's imapd.conf", err)
	case errors.Is(err, cyrus.ErrLocked):
		return fmt.Errorf("%w: the mailbox is in use; run the restore again", err)
	case refused.Token == "" && d.opt.Partition == "":
		return fmt.Errorf("%w (see the server's log). If the server has no such partition, choose one with -P", err)
	case refused.Token == "":
		return fmt.Errorf("%w (see the server's log). Does the server have a partition %s?", err, d.opt.Partition)
	}
	return err
}
