package csync

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/replication/client"
)

// account restores missing account data: subscriptions, seen state, scripts and which one is
// active, quota, annotations.
func (d *Destination) account(ctx context.Context, c *conn, a *restore.Account) error {
	for _, e := range a.Subs {
		if err := d.part(ctx, c, "subscription of "+e.User+" to "+e.Name, func() error { return d.sub(ctx, c, e) }); err != nil {
			return err
		}
	}
	for _, e := range a.Seen {
		if err := d.part(ctx, c, "seen state of "+e.User, func() error { return d.seen(ctx, c, e) }); err != nil {
			return err
		}
	}
	for _, e := range a.Scripts {
		if err := d.part(ctx, c, "script "+restore.ScriptName(e.Filename)+" of "+e.User, func() error { return d.script(ctx, c, e) }); err != nil {
			return err
		}
	}
	for _, e := range a.Active {
		if err := d.part(ctx, c, "active script of "+e.User, func() error { return d.active(ctx, c, e) }); err != nil {
			return err
		}
	}
	for _, e := range a.Quotas {
		if err := d.part(ctx, c, "quota of "+e.Root, func() error { return d.quota(ctx, c, e) }); err != nil {
			return err
		}
	}
	for _, e := range a.Annotations {
		if err := d.part(ctx, c, "annotation "+e.Entry+" of "+e.Name, func() error { return d.annotation(ctx, c, e) }); err != nil {
			return err
		}
	}
	return nil
}

// part restores one item. It reports a refusal, and a connection that the server closed if it can
// be replaced. It returns any other error.
func (d *Destination) part(ctx context.Context, c *conn, what string, do func() error) error {
	err := do()
	if err == nil {
		c.failed = 0
		return nil
	}
	err = fmt.Errorf("%s: %w", what, err)
	if err := c.survive(ctx, err); err != nil {
		return err
	}
	d.rep.Fail(err)
	return nil
}

func (d *Destination) sub(ctx context.Context, c *conn, e *history.SubEvent) error {
	u, err := d.user(ctx, c.Client, e.User)
	if err != nil || slices.Contains(u.Subs, e.Name) {
		return err
	}
	d.rep.Say("%s: subscribed to %s", e.User, e.Name)
	if d.opt.DryRun {
		return nil
	}
	return c.ApplySub(ctx, e.User, e.Name)
}

// Seen state refers to uids, so it is only valid if the mailbox has the same uids.
func (d *Destination) seen(ctx context.Context, c *conn, e *history.SeenEvent) error {
	if !d.opt.KeepUIDs && d.holder(e.UniqueID) == nil {
		return nil
	}
	u, err := d.user(ctx, c.Client, e.User)
	if err != nil {
		return err
	}
	for _, s := range u.Seen {
		// Seen state at the server may be another user's.
		if s.UniqueID == e.UniqueID && (d.opt.Target != nil || num(s.Fields, "LASTCHANGE") >= num(e.Fields, "LASTCHANGE")) {
			return nil
		}
	}
	d.rep.Say("%s: seen state of mailbox %s", e.User, e.UniqueID)
	if d.opt.DryRun {
		return nil
	}
	return c.ApplySeen(ctx, cyrus.Seen{UserID: e.User, UniqueID: e.UniqueID, Fields: e.Fields})
}

func (d *Destination) script(ctx context.Context, c *conn, e *history.SieveEvent) error {
	u, err := d.user(ctx, c.Client, e.User)
	if err != nil {
		return err
	}
	for _, s := range u.Sieve {
		if s.Filename == e.Filename {
			if s.GUID != "" && s.GUID != e.GUID.String() {
				d.rep.Say("%s: the server has another script %s, which is kept", e.User, restore.ScriptName(e.Filename))
			}
			return nil
		}
	}
	d.rep.Say("%s: script %s", e.User, restore.ScriptName(e.Filename))
	if d.opt.DryRun {
		return nil
	}
	return c.ApplySieve(ctx, cyrus.Sieve{UserID: e.User, Filename: e.Filename, LastUpdate: e.LastUpdate, Content: e.Content, Extra: e.Extra})
}

func (d *Destination) active(ctx context.Context, c *conn, e *history.SieveActiveEvent) error {
	u, err := d.user(ctx, c.Client, e.User)
	if err != nil {
		return err
	}
	for _, s := range u.Sieve {
		if s.Active {
			if restore.ScriptName(s.Filename) != restore.ScriptName(e.Filename) {
				d.rep.Say("%s: script %s is active at the server and stays active", e.User, restore.ScriptName(s.Filename))
			}
			return nil
		}
	}
	d.rep.Say("%s: script %s is active", e.User, restore.ScriptName(e.Filename))
	if d.opt.DryRun {
		return nil
	}
	return c.ApplyActivateSieve(ctx, e.User, e.Filename)
}

func (d *Destination) quota(ctx context.Context, c *conn, e *history.QuotaEvent) error {
	lines, err := c.Get(ctx, "QUOTA", dlist.S(e.Root))
	var refused *client.RefusedError
	if err != nil && (!errors.As(err, &refused) || errors.Is(err, client.ErrBye)) {
		return err
	}
	if err == nil && len(lines) > 0 {
		d.rep.Say("%s: the existing quota is kept", e.Root)
		return nil
	}
	d.rep.Say("%s: quota", e.Root)
	if d.opt.DryRun {
		return nil
	}
	return c.ApplyQuota(ctx, cyrus.Quota{Root: e.Root, Fields: e.Fields})
}

func (d *Destination) annotation(ctx context.Context, c *conn, e *history.AnnotationEvent) error {
	if e.Name != "" && d.named(e.Name) == nil {
		return nil // belongs to a mailbox that was not chosen
	}
	lines, err := c.Get(ctx, "ANNOTATION", dlist.S(e.Name))
	var refused *client.RefusedError
	if err != nil && (!errors.As(err, &refused) || errors.Is(err, client.ErrBye)) {
		return err
	}
	for _, l := range lines {
		if text(l.Value.Pairs, "ENTRY") == e.Entry && text(l.Value.Pairs, "USERID") == e.UserID {
			return nil
		}
	}
	d.rep.Say("annotation %s of %q", e.Entry, e.Name)
	if d.opt.DryRun {
		return nil
	}
	return c.ApplyAnnotation(ctx, cyrus.MailboxAnnotation{Mailbox: e.Name, Entry: e.Entry, UserID: e.UserID, Value: e.Value})
}
