package session

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
)

const (
	// batchRecords is how many records are looked up together. More cost memory and save
	// nothing: the index is read in the order of the keys from a few hundred keys on.
	batchRecords = 2048
	// batchBytes ends a batch of records with long annotations earlier.
	batchBytes = 1 << 20
)

// batch holds consecutive records of an APPLY MAILBOX, with what the index has about them. It
// reuses its memory for the next records.
type batch struct {
	records []cyrus.RecordBuffer // more than n after an earlier, larger batch
	n       int
	bytes   int
	uids    []uint32
	guids   []cyrus.GUID
	before  []before
	found   []partitions.Message
}

// before compares a record with ours of the same UID.
type before struct {
	exists  bool // and has not gone
	message bool // it exists and has the same message
	same    bool // it exists and is equal
}

// add adds a copy of a record.
func (c *batch) add(r *cyrus.Record) {
	if c.n == len(c.records) {
		c.records = append(c.records, cyrus.RecordBuffer{})
	}
	c.records[c.n].Set(r)
	c.n++
	c.bytes += sizeOf(r)
}

// sizeOf returns about how many bytes a record takes beyond its fixed size. The size of unknown
// fields counts as large, because they may be anything.
func sizeOf(r *cyrus.Record) (n int) {
	if len(r.Extra) > 0 {
		n = batchBytes
	}
	for _, f := range r.Flags {
		n += len(f)
	}
	for i := range r.Annotations {
		a := &r.Annotations[i]
		if a.Value != nil {
			n += len(*a.Value)
		}
		if len(a.Extra) > 0 {
			n += batchBytes
		}
	}
	return n
}

func (c *batch) full(most int) bool { return c.n >= most || c.bytes >= batchBytes }

// clear empties the batch. It keeps the memory only of ordinary records.
func (c *batch) clear() {
	if c.bytes >= batchBytes {
		c.records = nil
	}
	c.n, c.bytes = 0, 0
}

// lookUp reads what the index has about the records. A UID above the highest that the mailbox
// had is not looked up: a first upload reads no records.
func (d *draft) lookUp(ctx context.Context) error {
	c := &d.batch
	c.uids, c.guids = c.uids[:0], c.guids[:0]
	for i := range c.n {
		r := &c.records[i].Record
		if w := d.u.was; w != nil && r.UID <= w.TopUID {
			c.uids = append(c.uids, r.UID)
		}
		c.guids = append(c.guids, r.GUID)
	}
	c.before = append(c.before[:0], make([]before, c.n)...)
	if len(c.found) < c.n {
		c.found = append(c.found, make([]partitions.Message, c.n-len(c.found))...)
	}
	return d.w.View(ctx, func(st *partitions.State) error {
		err := st.EachRecord(d.u.mb.UniqueID, c.uids, func(i int, old *history.RecordState) error {
			c.before[i] = compare(old, &c.records[i].Record)
			return nil
		})
		if err != nil {
			return err
		}
		return d.w.FindAll(st, c.guids, c.found[:c.n])
	})
}

func compare(old *history.RecordState, r *cyrus.Record) before {
	if old.Gone {
		return before{}
	}
	return before{exists: true, message: old.GUID == r.GUID, same: old.Record.Equal(r)}
}
