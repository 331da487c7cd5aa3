package drill

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/csync"
	"github.com/cyrusbackup/backupd/replication/client"
)

// removeTime limits the removal of the scratch user after a drill, also after an interrupted one.
const removeTime = 2 * time.Minute

// Server is a Cyrus server for drills. The caller holds its Lock.
type Server struct {
	Name string // for messages
	Dial func(context.Context) (*client.Client, error)

	marks *marks
}

// NewServer returns the server for the drills of a host.
func NewServer(name, host string, dial func(context.Context) (*client.Client, error)) *Server {
	return &Server{Name: name, Dial: dial, marks: newMarks(host)}
}

// Clear removes what an interrupted drill has left. The error is ErrForeign if the server cannot be
// used, because it has a user with the name of the scratch user.
func (s *Server) Clear(ctx context.Context, now time.Time) error {
	return s.with(ctx, func(c *client.Client) error { return s.clear(ctx, c, now) })
}

// with calls fn with a connection.
func (s *Server) with(ctx context.Context, fn func(*client.Client) error) error {
	c, err := s.Dial(ctx)
	if err != nil {
		return err
	}
	err = fn(c)
	if !c.Broken() && ctx.Err() == nil {
		err = errors.Join(err, c.Exit(ctx))
	}
	_ = c.Close()
	return err
}

// inServer is a server as a place. Each mailbox keeps its uids, modseqs and uidvalidity, so that the
// checksums can be compared. It gets a marked uniqueid, so the server may have the mailboxes of the
// real user, too.
type inServer struct {
	*drill
	folders []*restore.Folder
	owner   string           // of the backup; "" = shared mailboxes
	mapped  *restore.Account // the data of the scratch user
}

func (d *inServer) prepare(ctx context.Context) (done func() error, err error) {
	if err := d.Server.Clear(ctx, d.Clock()); err != nil {
		return nil, err
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
		defer cancel()
		if err := d.Server.Clear(ctx, d.Clock()); err != nil {
			return fmt.Errorf("the user %s is left on %s, and the next drill removes it: %w", ScratchUser, d.Server.Name, err)
		}
		return nil
	}, nil
}

// restore creates the INBOX, which marks the user as a drill's, and restores into it.
func (d *inServer) restore(ctx context.Context) error {
	d.readdress()
	partition := ""
	err := d.Server.with(ctx, func(c *client.Client) (err error) {
		partition, err = d.createInbox(ctx, c)
		return err
	})
	if err != nil {
		return err
	}
	rep := d.report()
	err = csync.New(d.src, rep, csync.Options{Dial: d.Server.Dial, Partition: partition, KeepUIDs: true,
		DeletedPrefix: d.DeletedPrefix, DefaultDomain: d.DefaultDomain}).Restore(ctx, d.folders, d.mapped)
	d.added = rep.Sums().Added
	return err
}

// readdress gives the folders to the scratch user.
func (d *inServer) readdress() {
	for _, f := range d.sel.Folders {
		if d.owner == "" {
			d.owner, _ = cyrus.Owner(f.From.Name, d.DefaultDomain, d.DeletedPrefix)
		}
		from, to := *f.From, *f
		from.UniqueID = d.Server.marks.next(d.Clock())
		to.Name = d.name(f.From.Name)
		from.Fields = with(from.Fields, "UNIQUEID", dlist.S(from.UniqueID))
		if to.Name == scratchInbox {
			from.Fields = with(from.Fields, "UIDVALIDITY", dlist.N(max(1, number(from.Fields, "UIDVALIDITY"))))
		}
		to.From = &from
		d.folders = append(d.folders, &to)
	}
	d.mapped = d.mapAccount()
}

// name returns the scratch user's name for a mailbox: that of the same mailbox, or below the INBOX if no
// user owns it.
func (d *inServer) name(of string) string {
	if d.owner != "" {
		inbox := cyrus.Inbox(d.owner, d.DefaultDomain)
		if rest, ok := strings.CutPrefix(of, inbox); ok && (rest == "" || rest[0] == '.') {
			return scratchInbox + rest
		}
	}
	if _, rest, ok := strings.Cut(of, "!"); ok {
		of = rest
	}
	return scratchInbox + "." + of
}

// createInbox creates the INBOX on the server's default partition, and returns the name of that.
// RESTORE leaves a mailbox that somebody else has made meanwhile unchanged, which the uniqueid shows.
func (d *inServer) createInbox(ctx context.Context, c *client.Client) (partition string, err error) {
	id, validity, modseq, options := d.Server.marks.next(d.Clock()), uint64(1), uint64(1), ""
	for _, f := range d.folders {
		if f.Name == scratchInbox {
			id, validity, modseq = f.From.UniqueID, number(f.From.Fields, "UIDVALIDITY"), max(1, number(f.From.Fields, "HIGHESTMODSEQ"))
			options = text(f.From.Fields, "OPTIONS")
		}
	}
	head := []dlist.Pair{
		dlist.P("UNIQUEID", dlist.S(id)), dlist.P("MBOXNAME", dlist.S(scratchInbox)),
		dlist.P("HIGHESTMODSEQ", dlist.N(modseq)), dlist.P("UIDVALIDITY", dlist.N(validity)),
		dlist.P("PARTITION", dlist.Value{}), dlist.P("ACL", dlist.Value{}), dlist.P("OPTIONS", dlist.S(options)),
	}
	none := func(func(*cyrus.Record, error) bool) {}
	if err := c.RestoreMailbox(ctx, head, none, false); err != nil {
		return "", fmt.Errorf("create the user %s: %w", ScratchUser, err)
	}
	boxes, err := c.GetMailboxes(ctx, []string{scratchInbox})
	if err != nil {
		return "", err
	}
	if len(boxes) != 1 || boxes[0].UniqueID != id {
		return "", fmt.Errorf("%s has made a user %s meanwhile: %w", d.Server.Name, ScratchUser, ErrForeign)
	}
	return boxes[0].Partition, nil
}

// with returns fields with one replaced or appended.
func with(fields []dlist.Pair, key string, v dlist.Value) []dlist.Pair {
	out := append([]dlist.Pair(nil), fields...)
	for i := range out {
		if out[i].Key == key {
			out[i].Value = v
			return out
		}
	}
	return append(out, dlist.P(key, v))
}

func text(fields []dlist.Pair, key string) string {
	v, _ := dlist.KV(fields...).Get(key)
	return v.Str
}

// number returns a number among fields; 0 = there is none.
func number(fields []dlist.Pair, key string) uint64 {
	n, _, err := dlist.KV(fields...).Num64(key)
	if err != nil {
		return 0
	}
	return n
}
