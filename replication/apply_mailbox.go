package replication

import (
	"context"
	"fmt"
	"iter"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// Limits for the fields of APPLY MAILBOX other than RECORD. Cyrus sends 31 fields, a few
// hundred bytes in total.
const (
	maxHeadFields = 1024
	maxHeadBytes  = 32 << 20
)

// applyMailbox is APPLY MAILBOX %(… RECORD (…)). A first upload sends all records in one
// line, hundreds of megabytes for a large mailbox, so the Session gets them one at a time
// as they arrive. Cyrus sends RECORD last (imap/sync_support.c, sync_prepare_dlists), and
// an intermediate mailbox has no RECORD. Fields after RECORD are accepted too, except
// SINCE_*, which the Session needs before the first record.
func (c *conn) applyMailbox(ctx context.Context) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	st := &mailboxStream{dec: c.dec, end: c.end}
	if err := st.readHead(); err != nil {
		return err
	}
	mb, since, err := cyrus.ParseMailbox(st.fields)
	if err != nil {
		return err
	}
	if !st.atRecords && !mb.Intermediate() && !mb.Deleted() {
		return fmt.Errorf("MAILBOX %s: %w: RECORD is missing", mb.Name, cyrus.ErrBadParameters)
	}
	c.subject = mb.Name
	st.mailbox = mb
	err = s.ApplyMailbox(ctx, mb, since, st.records)
	if err == nil {
		// The Session need not read the records of an intermediate mailbox.
		err = st.finish()
	}
	if st.err != nil {
		return st.err
	}
	return fromSession(err)
}

// mailboxStream reads APPLY MAILBOX as the Session asks for its records.
type mailboxStream struct {
	dec       *dlist.Decoder
	end       func() error // reads the line end
	keys      dlist.Keys
	members   dlist.Members // of RECORD
	reader    cyrus.RecordReader
	fields    []dlist.Pair
	headBytes int64 // bytes of these on the wire
	mailbox   *cyrus.Mailbox
	atRecords bool
	late      bool // some fields came after RECORD
	done      bool
	err       error // from the wire, or from an invalid field
}

// readHead reads the fields before RECORD. Without RECORD it reads to the line end.
func (st *mailboxStream) readHead() (err error) {
	if st.keys, err = st.dec.Keys(); err != nil {
		return err
	}
	for {
		key, ok, err := st.keys.Next()
		switch {
		case err != nil:
			return err
		case !ok:
			st.done = true
			return st.end()
		case key == "RECORD":
			st.atRecords = true
			st.members, err = st.dec.Members()
			return err
		}
		if err := st.field(key); err != nil {
			return err
		}
	}
}

// field reads the value of a field and keeps it.
func (st *mailboxStream) field(key string) error {
	v, err := st.value()
	if err != nil {
		return err
	}
	if len(st.fields) >= maxHeadFields {
		return fmt.Errorf("MAILBOX: %w: more than %d fields", cyrus.ErrBadParameters, maxHeadFields)
	}
	st.fields = append(st.fields, dlist.P(key, v))
	return nil
}

// value reads the value of a field.
func (st *mailboxStream) value() (dlist.Value, error) {
	from := st.dec.Offset()
	v, err := st.dec.Value()
	if st.headBytes += st.dec.Offset() - from; err == nil && st.headBytes > maxHeadBytes {
		err = fmt.Errorf("MAILBOX: %w: fields of more than %d bytes", cyrus.ErrBadParameters, maxHeadBytes)
	}
	return v, err
}

// records yields the records, then reads the fields and the line end that follow. Each record
// is valid until the loop continues. Only after the loop ends without an error is the command
// complete and mb reliable.
func (st *mailboxStream) records(yield func(*cyrus.Record, error) bool) {
	for !st.done {
		var r *cyrus.Record
		held := st.dec.Held()
		more, err := st.members.Next()
		if more && err == nil {
			r, err = st.reader.Read(st.dec)
		} else if err == nil {
			err = st.readRest()
		}
		if err != nil {
			st.err = err
		}
		st.done = r == nil
		if (r != nil || err != nil) && !yield(r, err) {
			return
		}
		if r != nil {
			st.reader.Trim()
			st.dec.Release(held)
		}
	}
}

// readRest reads the fields after RECORD and the line end.
func (st *mailboxStream) readRest() error {
	for {
		key, ok, err := st.keys.Next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		switch key {
		case "SINCE_MODSEQ", "SINCE_CRC", "SINCE_CRC_ANNOT":
			return fmt.Errorf("MAILBOX: %w: %s after RECORD", cyrus.ErrBadParameters, key)
		}
		st.late = true
		if err := st.field(key); err != nil {
			return err
		}
	}
	if err := st.end(); err != nil {
		return err
	}
	return st.refreshHead()
}

// refreshHead parses the head again if fields came after RECORD.
func (st *mailboxStream) refreshHead() error {
	if !st.late {
		return nil
	}
	mb, _, err := cyrus.ParseMailbox(st.fields)
	if err != nil {
		return err
	}
	*st.mailbox = *mb
	return nil
}

// finish reads the rest of the argument if the Session did not read it all.
func (st *mailboxStream) finish() error {
	for _, err := range iter.Seq2[*cyrus.Record, error](st.records) {
		if err != nil {
			return err
		}
	}
	return nil
}
