package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// Mailbox is a mailbox of the source.
type Mailbox struct {
	Fields []dlist.Pair // fields of APPLY MAILBOX, SYNC_CRC included; no SINCE_*, no RECORD
	// Records yields all records in ascending uid order. It is iterated up to three times.
	Records iter.Seq2[*cyrus.Record, error]
	// Open opens the body of a record's message.
	Open func(*cyrus.Record) (io.ReadCloser, error)
}

// Result is the outcome of SyncMailbox.
type Result struct {
	Unchanged bool // the server was up to date: nothing was sent
	Reserved  int  // GUIDs asked about
	Records   int  // records sent
	Uploaded
}

// SyncMailbox updates a server's copy of a mailbox like sync_client (imap/sync_support.c,
// sync_reserve_partition, update_mailbox_once). reported is the server's report of the
// mailbox with this uniqueid, nil if the server has none. names are the names of all
// mailboxes that the server reported, where it may find messages: without names nothing is
// reserved and everything is uploaded. On SYNC_CHECKSUM, sync_client makes a full update in
// both directions; SyncMailbox returns the refusal instead.
func (c *Client) SyncMailbox(ctx context.Context, m *Mailbox, reported *cyrus.Mailbox, names []string) (Result, error) {
	var res Result
	head, _, err := cyrus.ParseMailbox(m.Fields)
	if err != nil {
		return res, err
	}
	if head.Intermediate() || head.Deleted() {
		return res, c.ApplyIntermediate(ctx, m.Fields)
	}
	if reported != nil && unchanged(head, reported) {
		res.Unchanged = true
		return res, nil
	}
	have := reported
	if have == nil {
		have = new(cyrus.Mailbox)
	}
	missing, err := c.reserve(ctx, m, head.Partition, have, names, &res)
	if err != nil {
		return res, err
	}
	res.Uploaded, err = c.ApplyMessages(ctx, toUpload(m, head.Partition, have, missing))
	if err != nil {
		return res, err
	}
	since := cyrus.Since{Set: have.HighestModSeq > 0, ModSeq: have.HighestModSeq, CRC: have.SyncCRC, CRCAnnot: have.SyncCRCAnnot}
	err = c.ApplyMailbox(ctx, m.Fields, since, func(yield func(*cyrus.Record, error) bool) {
		for r, err := range m.Records {
			if err == nil && r.ModSeq <= have.HighestModSeq {
				continue
			}
			res.Records++
			if !yield(r, err) {
				return
			}
		}
	})
	if err != nil {
		return res, fmt.Errorf("%s: %w", head.Name, err)
	}
	return res, nil
}

// reserve returns the messages that the server is missing. nil means that the server was
// not asked and everything must be uploaded.
func (c *Client) reserve(ctx context.Context, m *Mailbox, partition string, have *cyrus.Mailbox, names []string, res *Result) (map[cyrus.GUID]bool, error) {
	if len(names) == 0 {
		return nil, nil
	}
	var guids []cyrus.GUID
	asked := make(map[cyrus.GUID]bool)
	for r, err := range m.Records {
		if err != nil {
			return nil, err
		}
		if _, done := c.staged[r.GUID]; done || r.UID <= have.LastUID || asked[r.GUID] {
			continue
		}
		asked[r.GUID] = true
		guids = append(guids, r.GUID)
	}
	res.Reserved = len(guids)
	missing, err := c.Reserve(ctx, partition, names, guids)
	if err != nil {
		return nil, err
	}
	clear(asked)
	for _, g := range missing {
		asked[g] = true
	}
	return asked, nil
}

// toUpload yields the messages that belong to the records to send and that the server is
// missing. It skips expunged messages, because their files may be gone; there is no need to
// send NIL.
func toUpload(m *Mailbox, partition string, have *cyrus.Mailbox, missing map[cyrus.GUID]bool) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for r, err := range m.Records {
			if err == nil && (r.UID <= have.LastUID || r.ModSeq <= have.HighestModSeq || r.Expunged() || missing != nil && !missing[r.GUID]) {
				continue
			}
			msg := Message{}
			if err == nil {
				msg = Message{Partition: partition, GUID: r.GUID, Size: int64(r.Size), Open: func() (io.ReadCloser, error) { return m.Open(r) }}
			}
			if !yield(msg, err) {
				return
			}
		}
	}
}

// errNoMailbox means that SyncUser got no mailboxes.
var errNoMailbox = errors.New("no mailboxes")

// SyncUser requests a user's state and syncs each mailbox. It calls each after every
// mailbox; an error of each ends the call. A refused mailbox ends it too, as in
// sync_client.
func (c *Client) SyncUser(ctx context.Context, userid string, mailboxes []*Mailbox, each func(*cyrus.Mailbox, Result) error) (*User, error) {
	if len(mailboxes) == 0 {
		return nil, errNoMailbox
	}
	u, err := c.GetUser(ctx, userid)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]*cyrus.Mailbox, len(u.Mailboxes))
	names := make([]string, 0, len(u.Mailboxes))
	for _, m := range u.Mailboxes {
		byID[m.UniqueID] = m
		names = append(names, m.Name)
	}
	for _, m := range mailboxes {
		head, _, err := cyrus.ParseMailbox(m.Fields)
		if err != nil {
			return u, err
		}
		res, err := c.SyncMailbox(ctx, m, byID[head.UniqueID], names)
		if err != nil {
			return u, err
		}
		if err := each(head, res); err != nil {
			return u, err
		}
	}
	return u, nil
}
