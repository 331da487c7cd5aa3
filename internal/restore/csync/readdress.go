package csync

import (
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// target returns the name of a mailbox at the destination.
func (d *Destination) target(name string) string {
	if d.opt.Target == nil {
		return name
	}
	return d.opt.Target(name)
}

// userFor returns the user who gets the data of a user of the backup: the owner of the mailbox
// that the INBOX is restored to.
func (d *Destination) userFor(userid string) string {
	is, _ := cyrus.Owner(d.target(cyrus.Inbox(userid, d.opt.DefaultDomain)), d.opt.DefaultDomain, d.opt.DeletedPrefix)
	if is == "" {
		return userid
	}
	return is
}

func (d *Destination) owner(name string) string {
	userid, _ := cyrus.Owner(name, d.opt.DefaultDomain, d.opt.DeletedPrefix)
	return userid
}

// readdress assigns account data to the user who gets the mailboxes. It leaves out, and reports,
// items about mailboxes that go to other users.
func (d *Destination) readdress(a *restore.Account) *restore.Account {
	if d.opt.Target == nil {
		return a
	}
	out := new(restore.Account)
	for _, e := range a.Subs {
		if sub := d.readdressSub(e); sub != nil {
			out.Subs = append(out.Subs, sub)
		}
	}
	for _, e := range a.Seen {
		c := *e
		c.User = d.userFor(e.User)
		out.Seen = append(out.Seen, &c)
	}
	for _, e := range a.Scripts {
		c := *e
		c.User = d.userFor(e.User)
		out.Scripts = append(out.Scripts, &c)
	}
	for _, e := range a.Active {
		c := *e
		c.User = d.userFor(e.User)
		out.Active = append(out.Active, &c)
	}
	for _, e := range a.Quotas {
		c := *e
		c.Root = d.target(e.Root)
		c.Fields = with(e.Fields, dlist.P("ROOT", dlist.S(c.Root)))
		out.Quotas = append(out.Quotas, &c)
	}
	for _, e := range a.Annotations {
		c := *e
		c.Name = d.target(e.Name)
		if e.UserID != "" {
			c.UserID = d.userFor(e.UserID)
		}
		out.Annotations = append(out.Annotations, &c)
	}
	return out
}

// readdressSub returns nil if the mailbox goes to another user than the subscription.
func (d *Destination) readdressSub(e *history.SubEvent) *history.SubEvent {
	c := *e
	c.User, c.Name = d.userFor(e.User), d.target(e.Name)
	if c.User == e.User && d.owner(c.Name) != d.owner(e.Name) {
		d.rep.Say("%s: the subscription to %s is left out, because that mailbox becomes %s", e.User, e.Name, c.Name)
		return nil
	}
	return &c
}
