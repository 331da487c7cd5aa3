package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

func isNonexistent(err error) bool { return errors.Is(err, cyrus.ErrNonexistent) }

// maxReserve is the number of GUIDs that sync_client sends in one RESERVE
// (imap/sync_support.c, sync_reserve_partition); sync_server allows one more.
const maxReserve = 8192

// Reserve asks which messages the server is missing. names are the mailboxes that the
// server has reported. It sends as many commands as needed. A GUID that is not returned
// need not be uploaded until Restart.
func (c *Client) Reserve(ctx context.Context, partition string, names []string, guids []cyrus.GUID) (missing []cyrus.GUID, err error) {
	for len(guids) > 0 {
		n := min(len(guids), maxReserve)
		v := dlist.KV(dlist.P("PARTITION", dlist.S(partition)), dlist.P("MBOXNAME", texts(names)), dlist.P("GUID", guidList(guids[:n])))
		err := c.command(ctx, "APPLY RESERVE", writeValue("APPLY", "RESERVE", v), func(key string, d *dlist.Decoder) error {
			if key != "MISSING" {
				return fmt.Errorf("unexpected %s", key)
			}
			return d.List(func() error {
				g, err := d.GUID()
				missing = append(missing, g)
				return err
			})
		})
		if err != nil {
			return nil, err
		}
		guids = guids[n:]
	}
	return missing, nil
}

func guidList(guids []cyrus.GUID) dlist.Value {
	items := make([]dlist.Value, len(guids))
	for i, g := range guids {
		items[i] = dlist.S(g.String())
	}
	return dlist.L(items...)
}

// ApplyMailbox sends a mailbox's fields, SINCE_* if since.Set, and its records. An error of
// records breaks the connection, because the command cannot be withdrawn.
func (c *Client) ApplyMailbox(ctx context.Context, fields []dlist.Pair, since cyrus.Since, records iter.Seq2[*cyrus.Record, error]) error {
	return c.mailbox(ctx, "APPLY MAILBOX", fields, since, records)
}

// ApplyIntermediate sends a mailbox without a RECORD list, which exists only as a path
// element or a tombstone.
func (c *Client) ApplyIntermediate(ctx context.Context, fields []dlist.Pair) error {
	return c.mailbox(ctx, "APPLY MAILBOX", fields, cyrus.Since{}, nil)
}

// RestoreMailbox sends RESTORE MAILBOX. sync_server then appends the records with new uids
// to an existing mailbox, or creates the mailbox (imap/sync_support.c,
// sync_restore_mailbox). The messages must be uploaded before, for the mailbox's partition
// on that server. local selects RESTORE LOCAL_MAILBOX, which is not replicated further.
// records must not be nil.
func (c *Client) RestoreMailbox(ctx context.Context, fields []dlist.Pair, records iter.Seq2[*cyrus.Record, error], local bool) error {
	what := "RESTORE MAILBOX"
	if local {
		what = "RESTORE LOCAL_MAILBOX"
	}
	return c.mailbox(ctx, what, fields, cyrus.Since{}, records)
}

func (c *Client) mailbox(ctx context.Context, what string, fields []dlist.Pair, since cyrus.Since, records iter.Seq2[*cyrus.Record, error]) error {
	return c.command(ctx, what, func(w *bufio.Writer) error {
		b := append([]byte(what), " %("...)
		for i, p := range fields {
			if i > 0 {
				b = append(b, ' ')
			}
			b = dlist.AppendPair(b, p, true)
		}
		if since.Set {
			b = fmt.Appendf(b, " SINCE_MODSEQ %d SINCE_CRC %d SINCE_CRC_ANNOT %d", since.ModSeq, since.CRC, since.CRCAnnot)
		}
		if records == nil {
			_, err := w.Write(append(b, ')'))
			return err
		}
		b = append(b, " RECORD ("...)
		first := true
		for r, err := range records {
			if err != nil {
				return err
			}
			if !first {
				b = append(b, ' ')
			}
			first = false
			if _, err := w.Write(r.AppendWire(b, true)); err != nil {
				return err
			}
			b = b[:0]
		}
		_, err := w.Write(append(b, "))"...))
		return err
	}, nil)
}

func (c *Client) apply(ctx context.Context, key string, v dlist.Value) error {
	return c.command(ctx, "APPLY "+key, writeValue("APPLY", key, v), nil)
}

func userMailbox(userid, mailbox string) dlist.Value {
	return dlist.KV(dlist.P("USERID", dlist.S(userid)), dlist.P("MBOXNAME", dlist.S(mailbox)))
}

// ApplySub subscribes a user to a mailbox.
func (c *Client) ApplySub(ctx context.Context, userid, mailbox string) error {
	return c.apply(ctx, "SUB", userMailbox(userid, mailbox))
}

// ApplyUnsub removes a subscription.
func (c *Client) ApplyUnsub(ctx context.Context, userid, mailbox string) error {
	return c.apply(ctx, "UNSUB", userMailbox(userid, mailbox))
}

// ApplySeen stores a user's seen state of a mailbox.
func (c *Client) ApplySeen(ctx context.Context, s cyrus.Seen) error {
	return c.apply(ctx, "SEEN", s.DList())
}

// ApplySieve stores a script.
func (c *Client) ApplySieve(ctx context.Context, s cyrus.Sieve) error {
	return c.apply(ctx, "SIEVE", s.DList())
}

// ApplyActivateSieve activates a script; filename ends in .bc.
func (c *Client) ApplyActivateSieve(ctx context.Context, userid, filename string) error {
	return c.apply(ctx, "ACTIVATE_SIEVE", dlist.KV(dlist.P("USERID", dlist.S(userid)), dlist.P("FILENAME", dlist.S(filename))))
}

// ApplyUnsieve removes a script.
func (c *Client) ApplyUnsieve(ctx context.Context, userid, filename string) error {
	return c.apply(ctx, "UNSIEVE", dlist.KV(dlist.P("USERID", dlist.S(userid)), dlist.P("FILENAME", dlist.S(filename))))
}

// ApplyQuota stores the limits of a quota root.
func (c *Client) ApplyQuota(ctx context.Context, q cyrus.Quota) error {
	return c.apply(ctx, "QUOTA", dlist.KV(q.Fields...))
}

// ApplyAnnotation stores an annotation of a mailbox or of the server.
func (c *Client) ApplyAnnotation(ctx context.Context, a cyrus.MailboxAnnotation) error {
	return c.apply(ctx, "ANNOTATION", a.DList())
}

// ApplyRename renames a mailbox, or moves it to another partition.
func (c *Client) ApplyRename(ctx context.Context, r cyrus.Rename) error {
	return c.apply(ctx, "RENAME", dlist.KV(dlist.P("OLDMBOXNAME", dlist.S(r.Old)), dlist.P("NEWMBOXNAME", dlist.S(r.New)),
		dlist.P("PARTITION", dlist.S(r.Partition)), dlist.P("UIDVALIDITY", dlist.N(uint64(r.UIDValidity)))))
}

// ApplyUnmailbox deletes a mailbox. A missing mailbox is not an error.
func (c *Client) ApplyUnmailbox(ctx context.Context, name string) error {
	return ignoreNonexistent(c.apply(ctx, "UNMAILBOX", dlist.S(name)))
}

// ApplyUnuser deletes a user. A missing user is not an error.
func (c *Client) ApplyUnuser(ctx context.Context, userid string) error {
	return ignoreNonexistent(c.apply(ctx, "UNUSER", dlist.S(userid)))
}

func ignoreNonexistent(err error) error {
	if isNonexistent(err) {
		return nil
	}
	return err
}

// Restart ends the unit of work: the server drops reservations and uploads that no mailbox
// refers to.
func (c *Client) Restart(ctx context.Context) error {
	clear(c.staged)
	return c.simple(ctx, "RESTART")
}

// Noop checks that the server responds.
func (c *Client) Noop(ctx context.Context) error { return c.simple(ctx, "NOOP") }

// Exit sends EXIT and closes the connection.
func (c *Client) Exit(ctx context.Context) error {
	err := c.simple(ctx, "EXIT")
	return errors.Join(err, c.conn.Close())
}
