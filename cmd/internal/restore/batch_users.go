package restore

import (
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// chosenUsers selects the backups of a restore of many users: all, the users of a domain, or
// the userids with a prefix.
type chosenUsers struct {
	Domain string `json:"domain,omitempty"`
	Prefix string `json:"prefix,omitempty"`
}

// chosenUsers parses the selection. -A, -D and -P mean a selection only if no backup is named:
// in Cyrus's restore they are options for one backup.
func (g *given) chosenUsers(args []string) (*chosenUsers, []string, error) {
	named := g.user+g.mailbox+g.path != "" || g.selection.All || g.input != ""
	var ways []chosenUsers
	if g.allUsers {
		ways = append(ways, chosenUsers{})
	}
	if g.domain != "" {
		ways = append(ways, chosenUsers{Domain: g.domain})
	}
	if g.prefix != "" {
		ways = append(ways, chosenUsers{Prefix: g.prefix})
	}
	if len(ways) == 0 && !named {
		if g.selection.KeepDeletedPrefix && len(args) == 1 {
			ways, args = append(ways, chosenUsers{Domain: args[0]}), nil
			g.selection.KeepDeletedPrefix = false
		}
		if len(args) == 0 && g.acl == noACL {
			ways = append(ways, chosenUsers{})
			g.options.acl = nil
		}
		if len(args) == 0 && g.partition != "" {
			ways = append(ways, chosenUsers{Prefix: g.partition})
			g.partition = ""
		}
	}
	switch {
	case len(ways) == 0:
		return nil, args, nil
	case len(ways) > 1:
		return nil, nil, cli.Usagef("only one of --all-users, --domain and --prefix can be given (-A, -D and -P mean these if no BACKUP is named)")
	case named || len(args) > 0:
		return nil, nil, cli.Usagef("--all-users, --domain and --prefix choose backups: they take no BACKUP, no mailbox and no -a")
	}
	return &ways[0], nil, nil
}

// checkBatch rejects options that make no sense for many backups.
func (o *options) checkBatch(g *given) error {
	s := &o.selection
	switch {
	case s.Into != "" || len(g.maps) > 0 || s.Recursive || o.moment.Number > 0:
		return cli.Usagef("--commit, -M, --map and -r are for a single backup")
	case o.toFiles == "tar" || o.toFiles == "imap":
		return cli.Usagef("many users can be restored to a Cyrus server, maildir:, mbox: and eml:, not to --to %s: give one user at a time", o.toFiles)
	}
	if o.toFiles == "mbox" && o.newestFirst {
		return cli.Usagef("--newest-first writes in several passes, which an mbox cannot take: use maildir: or eml:")
	}
	o.selection.LiveOnly = s.Deleted == restore.ByObject
	return o.check()
}

// askedFor returns the options that select mail, as written: "3h ago" is the same option when the
// restore is resumed.
func (g *given) askedFor() map[string]string {
	o, out := g.options, map[string]string{}
	for name, text := range map[string]string{"--at": g.atText, "--since": g.since, "--until": g.until, "--dest-partition": o.partition} {
		if text != "" {
			out[name] = text
		}
	}
	if o.acl != nil {
		out["--override-acl"] = "=" + *o.acl
	}
	for name, on := range map[string]bool{"-X": g.skip, "-x": g.only, "-U": o.keepUIDs, "-L": o.local, "--keep-deleted": o.keepDeleted,
		"--keep-deletedprefix": o.selection.KeepDeletedPrefix, "--flags-only": o.flagsOnly, "--newest-first": o.newestFirst} {
		if on {
			out[name] = "yes"
		}
	}
	return out
}

// String is for people.
func (c *chosenUsers) String() string {
	switch {
	case c.Domain != "":
		return "domain " + c.Domain
	case c.Prefix != "":
		return "userids that begin with " + c.Prefix
	}
	return "all backups"
}

// fits reports whether a backup is selected.
func (c *chosenUsers) fits(f *repository.Found, defaultDomain string) bool {
	if *c == (chosenUsers{}) {
		return true
	}
	if f.Info.Kind != repository.KindUser {
		return false
	}
	if c.Prefix != "" {
		return strings.HasPrefix(f.Info.Name, c.Prefix)
	}
	return cli.InDomain(f.Info.Name, c.Domain, defaultDomain)
}
