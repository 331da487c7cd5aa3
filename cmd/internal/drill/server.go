package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/csync"
	"github.com/cyrusbackup/backupd/replication/client"
)

// removeTime and removeEach, for each message, limit the removal of the scratch user after a drill, also
// after an interrupted one.
const removeTime, removeEach = 2 * time.Minute, 20 * time.Millisecond

// idleTime limits how long the server may be silent while it executes a command, or takes the bytes of
// one. The removal of a user, which may be that of an interrupted drill, takes longer.
const idleTime, idleRemoval = 10 * time.Minute, time.Hour

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
	return s.remove(ctx, now, nil)
}

// remove removes the scratch user. put is what a drill has put there, if that is known.
func (s *Server) remove(ctx context.Context, now time.Time, put highest) error {
	return ofServer(ctx, s.with(ctx, func(c *client.Client) error { return s.clear(ctx, c, now, put) }))
}

// dial is Dial, whose errors are faults of the server, with a limit for each command.
func (s *Server) dial(ctx context.Context) (*client.Client, error) {
	c, err := s.Dial(ctx)
	if err != nil {
		return nil, ofServer(ctx, err)
	}
	c.LimitIdle(idleTime)
	return c, nil
}

// with calls fn with a connection.
func (s *Server) with(ctx context.Context, fn func(*client.Client) error) error {
	c, err := s.dial(ctx)
	if err != nil {
		return err
	}
	err = fn(c)
	if !c.Broken() && ctx.Err() == nil {
		_ = c.Exit(ctx) // all commands were answered
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
	inbox   string           // the uniqueid of the INBOX
	put     highest
	fault   error  // the first fault of the server while it restores
	refused uint32 // items that were not restored as they are
	unread  error  // why a record of the backup could not be read
}

func (d *inServer) prepare(ctx context.Context) (done func() error, err error) {
	if err := d.Server.Clear(ctx, d.Clock()); err != nil {
		return nil, err
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.removal())
		defer cancel()
		err := d.Server.remove(ctx, d.Clock(), d.put)
		switch {
		case errors.Is(err, ErrForeign):
			return &ServerError{fmt.Errorf("the user %s is left on %s: %w", ScratchUser, d.Server.Name, err)}
		case err != nil:
			return &ServerError{fmt.Errorf("the user %s is left on %s, and the next drill removes it: %w", ScratchUser, d.Server.Name, err)}
		}
		return nil
	}, nil
}

func (d *inServer) some() bool {
	return slices.ContainsFunc(d.sel.Folders, func(f *restore.Folder) bool { return !submissions(f) })
}

// removal limits the removal of the scratch user.
func (d *inServer) removal() time.Duration {
	n := 0
	for _, f := range d.folders {
		n += len(f.Messages)
	}
	return removeTime + time.Duration(n)*removeEach
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
		return ofServer(ctx, err)
	}
	rep := d.report()
	rep.Problem = func(err error) { d.notRestored(ctx, err) }
	err = csync.New(d.src, rep, csync.Options{Dial: d.Server.dial, Partition: partition, KeepUIDs: true,
		DeletedPrefix: d.DeletedPrefix, DefaultDomain: d.DefaultDomain}).Restore(ctx, d.folders, d.mapped)
	d.restored(rep)
	d.put.mayHave(d.refused)
	if err != nil && !ofBackup(err) {
		return ofServer(ctx, err)
	}
	return err
}

// notRestored reports an item that was not restored. After a fault of the server only other differences
// count.
func (d *inServer) notRestored(ctx context.Context, err error) {
	d.refused++
	if errors.Is(err, client.ErrChecksum) && d.delivered(ctx) {
		err = &ServerError{fmt.Errorf("%w: %w", errDelivered, err)}
	}
	switch {
	case !faulty(err):
		d.problem("%w", err)
	case d.fault == nil:
		d.fault = err
	default:
		d.Note(err.Error())
	}
}

// errDelivered means that a delivery has changed a mailbox of the drill.
var errDelivered = errors.New("somebody else has put mail there meanwhile")

// delivered reports whether somebody has put mail into a mailbox of the scratch user. The server refuses
// records then, because it has a higher modseq than the backup (imap/sync_support.c, sync_apply_mailbox).
func (d *inServer) delivered(ctx context.Context) (found bool) {
	err := d.Server.with(ctx, func(c *client.Client) error {
		u, err := c.GetUser(ctx, ScratchUser)
		if err == nil {
			found = slices.ContainsFunc(u.Mailboxes, func(m *cyrus.Mailbox) bool { return number(m.Fields, "LAST_APPENDDATE") > 0 })
		}
		return err
	})
	return err == nil && found
}

// readdress gives the folders to the scratch user.
func (d *inServer) readdress() {
	d.put = highest{}
	for _, f := range d.sel.Folders {
		if submissions(f) {
			d.Note(fmt.Sprintf("%s: left out, because a server could send its messages", f.From.Name))
			continue
		}
		if d.owner == "" {
			d.owner, _ = cyrus.Owner(f.From.Name, d.DefaultDomain, d.DeletedPrefix)
		}
		from, to := *f.From, *f
		from.UniqueID = d.Server.marks.next(d.Clock())
		to.Name = d.name(f.From.Name)
		from.Fields = harmless(with(from.Fields, "UNIQUEID", dlist.S(from.UniqueID)))
		to.From = &from
		d.put.add(&to)
		d.folders = append(d.folders, &to)
	}
	d.mapped = d.mapAccount()
}

// submissions reports whether a mailbox has messages that wait until JMAP sends them
// (imap/mboxlist.c, mboxlist_mbtype_to_string: s).
func submissions(f *restore.Folder) bool {
	return strings.Contains(text(f.From.Fields, "MBOXTYPE"), "s")
}

// harmless returns the fields of a mailbox for the scratch user. Without the option A (alarms,
// imap/sync_support.c, sync_parse_options) the server does not wake up snoozed messages. It ignores the
// uniqueid, and with it the mark, unless there is a uidvalidity and a modseq (sync_restore_mailbox). The
// date of the last delivery shows whether there was one: replication stores what it gets
// (sync_apply_mailbox), and each delivery or APPEND the time (imap/append.c, append_commit).
func harmless(fields []dlist.Pair) []dlist.Pair {
	for _, key := range []string{"UIDVALIDITY", "HIGHESTMODSEQ"} {
		fields = with(fields, key, dlist.N(max(1, number(fields, key))))
	}
	fields = with(fields, "LAST_APPENDDATE", dlist.N(0))
	return with(fields, "OPTIONS", dlist.S(strings.ReplaceAll(text(fields, "OPTIONS"), "A", "")))
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
			id, validity, modseq = f.From.UniqueID, number(f.From.Fields, "UIDVALIDITY"), number(f.From.Fields, "HIGHESTMODSEQ")
			options = text(f.From.Fields, "OPTIONS")
		}
	}
	d.inbox = id
	if _, known := d.put[id]; !known {
		d.put[id] = 0
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
