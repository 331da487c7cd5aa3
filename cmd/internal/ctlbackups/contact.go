package ctlbackups

import (
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// contact returns since when a backup may miss changes: since its last change, or since its mail
// server was last in contact without being refused. A user on holiday is not stale.
func (c *command) contact(b inList, sum repository.Summary) time.Time {
	at, client := sum.Changed, sum.Client
	if c.stale < 0 {
		return at
	}
	if b.known != nil {
		client = b.known.Client
		at = newer(at, b.known.Contact)
	}
	if b.Aside != "" || client == "" {
		return at
	}
	for _, k := range c.byClient[client] {
		if k.Reaches(b.Path) {
			at = newer(at, k.Last)
		}
	}
	return at
}

// readContacts reads what all backup hosts know about the mail servers. A contact that cannot be read is
// reported: its users may then look stale.
func (c *command) readContacts() {
	c.byClient = map[string][]*repository.Contact{}
	for _, p := range c.bucket.Partitions {
		for k, err := range repository.Contacts(c.ctx, p.Store) {
			if err != nil {
				cli.Fprintf(c.err, "ctl_backups: warning: partition %s: the last contact of a mail server is unknown: %v\n", p.Name, err)
				continue
			}
			c.byClient[k.Client] = append(c.byClient[k.Client], k)
		}
	}
}

func newer(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
