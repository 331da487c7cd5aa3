package drill

import (
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/replication/client"
)

// mapAccount returns the data of the backup's user for the scratch user. Whatever belongs to others, or
// to the server, is left out. No script becomes active, so that none redirects mail that comes for the
// scratch user.
func (d *inServer) mapAccount() *restore.Account {
	out := new(restore.Account)
	if d.owner == "" {
		return out
	}
	for _, e := range d.account.Subs {
		if e.User == d.owner {
			out.Subs = append(out.Subs, &history.SubEvent{User: ScratchUser, Name: d.subscription(e.Name)})
		}
	}
	for _, e := range d.account.Scripts {
		if c := *e; c.User == d.owner {
			c.User = ScratchUser
			out.Scripts = append(out.Scripts, &c)
		}
	}
	for _, e := range d.account.Quotas {
		if c := *e; d.owns(c.Root) {
			c.Root = d.name(c.Root)
			c.Fields = with(c.Fields, "ROOT", dlist.S(c.Root))
			out.Quotas = append(out.Quotas, &c)
		}
	}
	return out
}

// owns reports whether the backup's user owns a mailbox.
func (d *inServer) owns(name string) bool {
	owner, _ := cyrus.Owner(name, d.DefaultDomain, d.DeletedPrefix)
	return owner == d.owner
}

// subscription returns the name of a mailbox to subscribe to, which may be somebody else's.
func (d *inServer) subscription(name string) string {
	if d.owns(name) {
		return d.name(name)
	}
	return name
}

// compareUser compares subscriptions, scripts and quotas.
func (d *inServer) compareUser(u *client.User) {
	for _, e := range d.mapped.Subs {
		if !slices.Contains(u.Subs, e.Name) {
			d.lacks("subscription to %s: was not restored", e.Name)
		}
	}
	for _, e := range d.mapped.Scripts {
		if !slices.ContainsFunc(u.Sieve, func(s client.SieveInfo) bool {
			return s.Filename == e.Filename && (s.GUID == "" || s.GUID == e.GUID.String())
		}) {
			d.lacks("Sieve script %s: was not restored, or has other bytes", e.Filename)
		}
	}
	for _, e := range d.mapped.Quotas {
		if !slices.ContainsFunc(u.Quotas, func(q cyrus.Quota) bool { return q.Root == e.Root }) {
			d.lacks("quota of %s: was not restored", e.Root)
		}
	}
}
