package client

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// Untagged is one untagged line of a reply.
type Untagged struct {
	Key   string
	Value dlist.Value
}

// Get sends GET key value and returns the untagged lines. For replies that are
// too large for memory use the methods that stream.
func (c *Client) Get(ctx context.Context, key string, v dlist.Value) ([]Untagged, error) {
	return c.collect(ctx, "GET", key, v)
}

// Apply sends APPLY key value and returns the untagged lines.
func (c *Client) Apply(ctx context.Context, key string, v dlist.Value) ([]Untagged, error) {
	return c.collect(ctx, "APPLY", key, v)
}

func (c *Client) collect(ctx context.Context, verb, key string, v dlist.Value) ([]Untagged, error) {
	var out []Untagged
	err := c.command(ctx, verb+" "+key, writeValue(verb, key, v), func(key string, d *dlist.Decoder) error {
		v, err := d.Value()
		out = append(out, Untagged{key, v})
		return err
	})
	return out, err
}

// writeValue writes verb, key and value.
func writeValue(verb, key string, v dlist.Value) func(w *bufio.Writer) error {
	return func(w *bufio.Writer) error {
		b := append([]byte(verb), ' ')
		_, err := w.Write(dlist.AppendPair(b, dlist.P(key, v), true))
		return err
	}
}

// SieveInfo is a script as GET USER reports it.
type SieveInfo struct {
	Filename   string
	LastUpdate int64  // seconds since the epoch
	GUID       string // SHA-1 of the content; "" when not reported
	Active     bool
}

// User is a server's state of a user.
type User struct {
	Mailboxes []*cyrus.Mailbox
	Seen      []cyrus.Seen // UserID is the requested user
	Subs      []string
	Sieve     []SieveInfo
	Quotas    []cyrus.Quota
}

// GetUser requests the whole state of a user. The state of an unknown user is empty, not an
// error (imap/sync_support.c, sync_response_parse).
func (c *Client) GetUser(ctx context.Context, userid string) (*User, error) {
	u, err := c.user(ctx, "USER", userid, userid)
	if isNonexistent(err) {
		return new(User), nil
	}
	return u, err
}

// GetMeta requests what belongs to a user and to no mailbox, except quotas, also of a user without a
// mailbox, for whom GET USER of Cyrus 3.6 and later is empty (imap/sync_support.c, sync_get_user,
// user_meta).
func (c *Client) GetMeta(ctx context.Context, userid string) (*User, error) {
	return c.user(ctx, "META", userid, userid)
}

// GetQuotas requests the quota of a quota root, the internal name of a mailbox. The result is empty if
// the root has none (imap/sync_support.c, quota_work).
func (c *Client) GetQuotas(ctx context.Context, root string) ([]cyrus.Quota, error) {
	u, err := c.user(ctx, "QUOTA", root, "")
	if err != nil {
		return nil, err
	}
	return u.Quotas, nil
}

// user sends a GET, and returns what the lines of its answer say about a user.
func (c *Client) user(ctx context.Context, key, argument, userid string) (*User, error) {
	lines, err := c.Get(ctx, key, dlist.S(argument))
	if err != nil {
		return nil, err
	}
	u := new(User)
	for _, l := range lines {
		if err := u.add(userid, l); err != nil {
			return nil, fmt.Errorf("GET %s %s: %w", key, argument, err)
		}
	}
	return u, nil
}

func (u *User) add(userid string, l Untagged) error {
	switch l.Key {
	case "MAILBOX":
		m, err := cyrus.ParseReply(l.Value.Pairs)
		if err != nil {
			return err
		}
		u.Mailboxes = append(u.Mailboxes, m)
	case "SEEN":
		v := dlist.KV(append([]dlist.Pair{dlist.P("USERID", dlist.S(userid))}, l.Value.Pairs...)...)
		s, err := cyrus.ParseSeen(v)
		if err != nil {
			return err
		}
		u.Seen = append(u.Seen, s)
	case "LSUB":
		for _, it := range l.Value.Items {
			u.Subs = append(u.Subs, it.Str)
		}
	case "SIEVE":
		s, err := parseSieveInfo(l.Value)
		if err != nil {
			return err
		}
		u.Sieve = append(u.Sieve, s)
	case "QUOTA":
		q, err := cyrus.ParseQuota(l.Value)
		if err != nil {
			return err
		}
		u.Quotas = append(u.Quotas, q)
	default:
		// sync_client fails the user here, so a server must not send such lines.
		return fmt.Errorf("unexpected %s", l.Key)
	}
	return nil
}

func parseSieveInfo(v dlist.Value) (s SieveInfo, err error) {
	if s.Filename, _, err = v.Text("FILENAME"); err != nil {
		return s, err
	}
	if s.LastUpdate, _, err = v.Date("LAST_UPDATE"); err != nil {
		return s, err
	}
	if s.GUID, _, err = v.Text("GUID"); err != nil {
		return s, err
	}
	active, _, err := v.Num32("ISACTIVE")
	s.Active = active != 0
	return s, err
}

// GetMailboxes requests mailboxes by internal name. Missing mailboxes are omitted from the
// result.
func (c *Client) GetMailboxes(ctx context.Context, names []string) ([]*cyrus.Mailbox, error) {
	lines, err := c.Get(ctx, "MAILBOXES", texts(names))
	if isNonexistent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []*cyrus.Mailbox
	for _, l := range lines {
		if l.Key != "MAILBOX" {
			return nil, fmt.Errorf("GET MAILBOXES: unexpected %s", l.Key)
		}
		m, err := cyrus.ParseReply(l.Value.Pairs)
		if err != nil {
			return nil, fmt.Errorf("GET MAILBOXES: %w", err)
		}
		out = append(out, m)
	}
	return out, nil
}

// GetFullMailbox requests a mailbox with its records and calls each for every record. An
// error of each ends the call after the reply has been read.
func (c *Client) GetFullMailbox(ctx context.Context, name string, each func(*cyrus.Record) error) ([]dlist.Pair, error) {
	var fields []dlist.Pair
	on := func(key string, d *dlist.Decoder) error {
		if key != "MAILBOX" {
			return fmt.Errorf("unexpected %s", key)
		}
		return d.KVList(func(key string) error {
			if key == "RECORD" {
				return d.List(func() error {
					r, err := cyrus.ReadRecord(d)
					if err != nil {
						return err
					}
					return each(r)
				})
			}
			v, err := d.Value()
			fields = append(fields, dlist.P(key, v))
			return err
		})
	}
	err := c.command(ctx, "GET FULLMAILBOX", writeValue("GET", "FULLMAILBOX", dlist.S(name)), on)
	return fields, err
}

// GetFetch copies a message to w and returns its size. A reply without a file is cyrus.ErrNonexistent.
func (c *Client) GetFetch(ctx context.Context, f cyrus.Fetch, w io.Writer) (int64, error) {
	v := dlist.KV(dlist.P("MBOXNAME", dlist.S(f.Name)), dlist.P("PARTITION", dlist.S(f.Partition)),
		dlist.P("UNIQUEID", dlist.S(f.UniqueID)), dlist.P("GUID", dlist.S(f.GUID.String())), dlist.P("UID", dlist.N(uint64(f.UID))))
	n, found := int64(0), false
	err := c.command(ctx, "GET FETCH", writeValue("GET", "FETCH", v), func(_ string, d *dlist.Decoder) error {
		if k, err := d.Peek(); err != nil || k == dlist.Nil {
			return d.Skip()
		}
		_, body, err := d.File()
		if err != nil {
			return err
		}
		found = true
		n, err = io.Copy(w, body)
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("GET FETCH: %w: no message in the reply", cyrus.ErrNonexistent)
	}
	return n, err
}

func texts(names []string) dlist.Value {
	items := make([]dlist.Value, len(names))
	for i, n := range names {
		items[i] = dlist.S(n)
	}
	return dlist.L(items...)
}
