package replication

import (
	"context"
	"errors"
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
	next, stop := iter.Pull2(st.parts)
	defer stop()
	st.next = next
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

// part is the next part of the kvlist of APPLY MAILBOX: a field, the start of RECORD, or a
// record.
type part struct {
	field  dlist.Pair
	record *cyrus.Record
	begin  bool
}

// mailboxStream reads APPLY MAILBOX. The Decoder pushes what it finds through callbacks and
// the Session pulls records; iter.Pull2 joins the two.
type mailboxStream struct {
	dec       *dlist.Decoder
	end       func() error // reads the line end
	next      func() (part, error, bool)
	fields    []dlist.Pair
	headBytes int64 // bytes of these on the wire
	mailbox   *cyrus.Mailbox
	atRecords bool
	late      bool // some fields came after RECORD
	done      bool
	err       error // from the wire, or from an invalid field
}

// errStopReading ends a callback when its caller needs no more parts.
var errStopReading = errors.New("caller stopped reading")

// parts yields the parts of the kvlist and then reads the line end.
func (st *mailboxStream) parts(yield func(part, error) bool) {
	give := func(p part) error {
		if !yield(p, nil) {
			return errStopReading
		}
		return nil
	}
	err := st.dec.KVList(func(key string) error {
		if key != "RECORD" || st.atRecords {
			v, err := st.value()
			if err != nil {
				return err
			}
			return give(part{field: dlist.P(key, v)})
		}
		if err := give(part{begin: true}); err != nil {
			return err
		}
		return st.dec.List(func() error {
			r, err := cyrus.ReadRecord(st.dec)
			if err != nil {
				return err
			}
			return give(part{record: r})
		})
	})
	if err == nil {
		err = st.end()
	}
	if err != nil && !errors.Is(err, errStopReading) {
		yield(part{}, err)
	}
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

// pull returns the next part; ok is false at the end and after an error, which is in st.err.
func (st *mailboxStream) pull() (p part, ok bool) {
	if st.done {
		return part{}, false
	}
	p, err, ok := st.next()
	if err != nil || !ok {
		st.done, st.err = true, err
		return part{}, false
	}
	return p, true
}

// readHead collects the fields before RECORD.
func (st *mailboxStream) readHead() error {
	for {
		p, ok := st.pull()
		switch {
		case !ok:
			return st.err
		case p.begin:
			st.atRecords = true
			return nil
		}
		if err := st.addField(p.field); err != nil {
			return err
		}
	}
}

func (st *mailboxStream) addField(f dlist.Pair) error {
	if len(st.fields) >= maxHeadFields {
		return fmt.Errorf("MAILBOX: %w: more than %d fields", cyrus.ErrBadParameters, maxHeadFields)
	}
	st.fields = append(st.fields, f)
	return nil
}

// records yields the records, then reads the fields and the line end that follow. Only
// after it ends without an error is the command complete and mb reliable.
func (st *mailboxStream) records(yield func(*cyrus.Record, error) bool) {
	for {
		p, ok := st.pull()
		if !ok {
			break
		}
		if p.record == nil {
			if st.err = st.addLate(p.field); st.err != nil {
				break
			}
			continue
		}
		if !yield(p.record, nil) {
			return
		}
	}
	if st.err == nil {
		st.err = st.refreshHead()
	}
	if st.err != nil {
		st.done = true
		yield(nil, st.err)
	}
}

// addLate adds a field that came after RECORD.
func (st *mailboxStream) addLate(f dlist.Pair) error {
	switch f.Key {
	case "SINCE_MODSEQ", "SINCE_CRC", "SINCE_CRC_ANNOT":
		return fmt.Errorf("MAILBOX: %w: %s after RECORD", cyrus.ErrBadParameters, f.Key)
	}
	st.late = true
	return st.addField(f)
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
