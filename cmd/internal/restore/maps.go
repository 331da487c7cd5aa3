package restore

import (
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
)

// move is one --map from the command line.
type move struct{ old, new string }

func parseMaps(list []string) (out []move, err error) {
	seen := map[string]bool{}
	for _, s := range list {
		old, to, ok := strings.Cut(s, "=")
		switch {
		case !ok || old == "" || to == "" || strings.Contains(to, "="):
			return nil, cli.Usagef("--map %s: write OLD=NEW, two names of mailboxes, as in --map user/anne/Work=user/anne/Old", s)
		case seen[old]:
			return nil, cli.Usagef("--map %s: %s is mapped twice", s, old)
		}
		seen[old] = true
		out = append(out, move{old, to})
	}
	return out, nil
}

// inherit splits USER:HEIR. Userids of Cyrus have no colon.
func (o *options) inherit() error {
	if o.mode != cli.ByUser {
		return nil
	}
	user, heir, ok := strings.Cut(o.backup, ":")
	if !ok {
		return nil
	}
	if heir != "" && strings.Trim(heir, "0123456789") == "" {
		return cli.Usagef("%s is a server, not a BACKUP: write SERVER first. -D DOMAIN and -P PREFIX take no BACKUP and no -a", o.backup)
	}
	if user == "" || heir == "" || strings.Contains(heir, ":") || user == heir {
		return cli.Usagef("%s: write USER:OTHER, two userids", o.backup)
	}
	o.backup, o.heir = user, heir
	return nil
}

// moves returns the maps with internal names.
func (o *options) moves(defaultDomain string) (out []restore.Move) {
	if o.heir != "" {
		out = append(out, restore.Move{Old: cyrus.Inbox(o.backup, defaultDomain), New: cyrus.Inbox(o.heir, defaultDomain)})
	}
	for _, m := range o.maps {
		out = append(out, restore.Move{Old: o.selection.AdminForm.Candidates(m.old)[0], New: o.selection.AdminForm.Candidates(m.new)[0]})
	}
	return out
}
