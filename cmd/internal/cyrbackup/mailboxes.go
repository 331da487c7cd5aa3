package cyrbackup

import (
	"slices"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/internal/visible"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// listMailboxes prints internal names, like Cyrus's cyr_backup: programs read them, and every
// command accepts them. With -v it adds the administrator's form.
func listMailboxes(c *command) error {
	c.printf("%-36s  %-25s  %s\n", "uniqueid", "last append date", "mboxname")
	for _, l := range c.lives {
		if err := c.listLife(l); err != nil {
			return err
		}
	}
	return nil
}

// listLife lists the mailboxes of a life, with a heading if there are several lives.
func (c *command) listLife(l history.Life) error {
	if len(c.lives) > 1 {
		c.printf("%s:\n", c.lifeText(l))
	}
	form := stores.AdminForm(c.bucket.Conf)
	for m, err := range c.mem.Mailboxes() {
		if err != nil {
			return err
		}
		if c.lives.Of(m, c.bucket.Conf.String("deletedprefix")).Number != l.Number {
			continue
		}
		c.printf("%-36s  %-25s  %s", m.UniqueID, local(appendDate(m)), m.Name)
		if c.verbose {
			c.printf("  %s", visible.Text(cyrus.FromUTF7(form.External(m.Name))))
		}
		if m.MovedTo != "" {
			c.printf("  [moved to %s %s]", m.MovedTo, timespec.Text(m.Deleted))
		}
		c.printf("\n")
	}
	return nil
}

func appendDate(m *history.MailboxState) int64 {
	v, ok := dlist.KV(m.Fields...).Get("LAST_APPENDDATE")
	if !ok {
		return 0
	}
	n, err := dlist.ParseNum("LAST_APPENDDATE", v.Str, 1<<62)
	if err != nil {
		return 0
	}
	return int64(n)
}

// find looks up a mailbox by uniqueid, then by name. Deleted mailboxes are found by their
// last name, the latest first.
func (c *command) find(name string) (*history.MailboxState, error) {
	if isUniqueID(name) {
		if m, err := c.mem.Mailbox(name); m != nil || err != nil {
			return m, err
		}
	}
	for _, n := range c.candidates(name) {
		if m, err := c.mem.MailboxByName(n); m != nil || err != nil {
			return m, err
		}
	}
	var latest *history.MailboxState
	for m, err := range c.mem.Mailboxes() {
		if err != nil {
			return nil, err
		}
		if slices.Contains(c.candidates(name), m.Name) {
			latest = m
		}
	}
	return latest, nil
}

// candidates returns the internal names that a word can mean.
func (c *command) candidates(word string) []string {
	return stores.AdminForm(c.bucket.Conf).Candidates(word)
}

func showMailboxes(c *command) error {
	var failed error
	for _, name := range c.names {
		m, err := c.find(name)
		if err != nil {
			return err
		}
		if m == nil {
			cli.Fprintf(c.err, "cyr_backup: %s: no such mailbox in the backup of %s\n", name, c.found.Name())
			failed = cli.ErrReported
			continue
		}
		if err := c.showMailbox(m); err != nil {
			return err
		}
	}
	return failed
}

func (c *command) showMailbox(m *history.MailboxState) error {
	c.printf("mboxname: %s\nuniqueid: %s\n", m.Name, m.UniqueID)
	if !m.Deleted.IsZero() {
		c.printf("deleted:  %s\n", timespec.Text(m.Deleted))
	}
	if m.MovedTo != "" {
		c.printf("moved to: %s\n", m.MovedTo)
	}
	if m.Resync != "" {
		c.printf("resync:   %s\n", m.Resync)
	}
	c.printf("messages:\n       uid  expunged time              guid\n")
	for r, err := range c.mem.Records(m.UniqueID, 0) {
		if err != nil {
			return err
		}
		expunged := ""
		if r.Expunged != 0 {
			expunged = local(r.Expunged)
		}
		c.printf("%10d  %-25s  %s\n", r.UID, expunged, r.GUID)
	}
	c.printf("\n")
	return nil
}

func jsonMailboxes(c *command) error {
	type message struct {
		UID      uint32 `json:"uid"`
		GUID     string `json:"guid"`
		Expunged string `json:"expunged,omitempty"`
	}
	type mailbox struct {
		UniqueID   string `json:"uniqueid"`
		Name       string `json:"mboxname"`
		LastAppend string `json:"last_appenddate"`
		MovedTo    string `json:"moved_to,omitempty"`
		Life       int    `json:"life,omitempty"` // of a user who had more than one
	}
	w := &arrayWriter{w: c.out}
	return w.fill(func() error {
		for m, err := range c.mem.Mailboxes() {
			if err != nil {
				return err
			}
			one := mailbox{UniqueID: m.UniqueID, Name: m.Name, LastAppend: local(appendDate(m)), MovedTo: m.MovedTo, Life: c.lifeOf(m)}
			err := w.object(one, "messages", func(add func(any) error) error {
				for r, err := range c.mem.Records(m.UniqueID, 0) {
					if err != nil {
						return err
					}
					x := message{UID: r.UID, GUID: r.GUID.String()}
					if r.Expunged != 0 {
						x.Expunged = local(r.Expunged)
					}
					if err := add(x); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}
