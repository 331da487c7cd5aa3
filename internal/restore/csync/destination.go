package csync

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/replication/client"
)

// Options say how a destination is reached and what becomes of mailboxes there.
type Options struct {
	Dial      func(context.Context) (*client.Client, error)
	Parallel  int     // connections; 0 = 1
	Partition string  // of new mailboxes; "" = that of the source
	ACL       *string // of new mailboxes; nil = that of the source, "" = the server's default
	KeepUIDs  bool    // uniqueid, uidvalidity, uids and modseqs
	// Undelete lets a deleted mailbox with the wanted uniqueid be renamed back, when
	// KeepUIDs needs its uniqueid.
	Undelete    bool
	Local       bool // RESTORE LOCAL_MAILBOX
	NewestFirst bool
	FlagsOnly   bool // set flags of what is there back, bring nothing
	DryRun      bool
	Verbose     int
	// Target is the name at the destination of a mailbox of the backup, where another user
	// gets it; nil = its own. What belongs to the backup's user goes the same way.
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

// New returns a destination for what src holds.
func New(src *restore.Source, rep *restore.Report, o Options) *Destination {
	return &Destination{opt: o, src: src, rep: rep}
}

// Restore brings the folders, then what belongs to no mailbox (nil: nothing). What
// concerns one folder is told to the Report and ends neither the others nor Restore.
func (d *Destination) Restore(ctx context.Context, folders []*restore.Folder, account *restore.Account) error {
	if account != nil {
		account = d.readdress(account)
	}
	first, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { first.close() }()
	if d.survey, err = look(ctx, first.Client, folders, account, &d.opt); err != nil {
		return err
	}
	if err := d.folders(ctx, first, folders); err != nil || account == nil || d.opt.FlagsOnly {
		return err
	}
	return d.account(ctx, first, account)
}

// folders restores the folders over the connections; first is the one that is open already.
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

// one restores a folder. An error ends the whole restore: nothing else could be restored.
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
	// What was uploaded for it is of no use any more.
	c.fresh()
	return c.Restart(ctx)
}

// concernsFolder says that err leaves the other folders a chance: the server refused
// something, or cut the connection and takes another one.
func (d *Destination) concernsFolder(ctx context.Context, c *conn, err error) bool {
	var refused *client.Refusal
	switch {
	case ctx.Err() != nil, c.lost, errors.Is(err, client.ErrPermission):
		return false
	case c.Broken():
		c.failed++
		return c.failed <= maxInARow && c.replace(ctx) == nil
	}
	return errors.As(err, &refused)
}

// explain says what to do about an answer that says little.
func (d *Destination) explain(err error) error {
	var refused *client.Refusal
	if !errors.As(err, &refused) {
		return err
	}
	switch {
	case errors.Is(err, client.ErrPermission):
		return fmt.Errorf("%w: the account that logs in there has to be in admins of its imapd.conf", err)
	case errors.Is(err, cyrus.ErrLocked):
		return fmt.Errorf("%w: somebody works on it; run the restore again", err)
	case refused.Token == "" && d.opt.Partition == "":
		return fmt.Errorf("%w (the server's log says why). If it has no partition of this name, say with -P which one to use", err)
	case refused.Token == "":
		return fmt.Errorf("%w (the server's log says why). Is %s a partition of the server?", err, d.opt.Partition)
	}
	return err
}
