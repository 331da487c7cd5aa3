package history

import (
	"fmt"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

const flagExpunged = `\Expunged`

func (rp *Replayer) records(h *Header, e *RecordsEvent) error {
	m, err := rp.mailboxCopy(e.UniqueID)
	if err != nil {
		return err
	}
	for _, r := range e.Records {
		if err := rp.upsert(h, m, r); err != nil {
			return err
		}
	}
	m.Commit = h.Number
	return rp.State.PutMailbox(m)
}

func (rp *Replayer) recordBlocks(h *Header, e *RecordBlocksEvent) error {
	m, err := rp.mailboxCopy(e.UniqueID)
	if err != nil {
		return err
	}
	if rp.Blocks == nil {
		return fmt.Errorf("%w: record blocks are not supported here", ErrCorrupt)
	}
	for _, ref := range e.Blocks {
		for r, err := range rp.Blocks(ref) {
			if err != nil {
				return err
			}
			if err := rp.upsert(h, m, r); err != nil {
				return err
			}
		}
	}
	m.Commit = h.Number
	return rp.State.PutMailbox(m)
}

// upsert puts one record and updates the totals of m; the caller puts m. A uid above
// TopUID is not looked up, so that a first upload costs no reads.
func (rp *Replayer) upsert(h *Header, m *MailboxState, r *cyrus.Record) error {
	if r.UID == 0 {
		return fmt.Errorf("%w: record with uid 0", ErrCorrupt)
	}
	var old *RecordState
	if r.UID <= m.TopUID {
		var err error
		if old, err = rp.State.Record(m.UniqueID, r.UID); err != nil {
			return err
		}
	}
	n := rp.newRecord()
	n.Record, n.Commit = *r, h.Number
	if r.Expunged() {
		n.Expunged = expungedAt(h)
		if old != nil && old.Expunged != 0 {
			n.Expunged = old.Expunged
		}
	}
	wasLive := old != nil && old.Expunged == 0
	switch {
	case wasLive && n.Expunged != 0:
		rp.Removed++
	case !wasLive && n.Expunged == 0:
		rp.Added++
	}
	m.TopUID = max(m.TopUID, r.UID)
	m.count(&rp.crc, old, -1)
	m.count(&rp.crc, n, +1)
	return rp.State.PutRecord(m.UniqueID, n)
}

// expungedAt returns the commit's time for RecordState.Expunged, where 0 means live.
func expungedAt(h *Header) int64 { return max(h.Time.Unix(), 1) }

// recordSlab is how many records are allocated at once.
const recordSlab = 32

// newRecord returns a new record for the State to keep.
func (rp *Replayer) newRecord() *RecordState {
	if len(rp.spare) == 0 {
		rp.spare = make([]RecordState, recordSlab)
	}
	r := &rp.spare[0]
	rp.spare = rp.spare[1:]
	return r
}

// count adds (+1) or subtracts (-1) a record; nil counts nothing.
func (m *MailboxState) count(memory *cyrus.CRCMemory, r *RecordState, sign int) {
	if r == nil {
		return
	}
	m.Records += sign
	if r.Expunged != 0 {
		return
	}
	m.Live += sign
	m.CRC.AddIn(memory, &r.Record) // adding again removes
}

// expungeRecord marks a live record as expunged by this commit.
func (rp *Replayer) expungeRecord(h *Header, m *MailboxState, old *RecordState, gone bool) error {
	n := *old
	n.Flags = append(slices.Clip(old.Flags), flagExpunged)
	n.Commit, n.Expunged, n.Gone = h.Number, expungedAt(h), gone
	rp.Removed++
	m.count(&rp.crc, old, -1)
	m.count(&rp.crc, &n, +1)
	return rp.State.PutRecord(m.UniqueID, &n)
}

// complete expunges the live records that this commit did not write, because they are
// missing from its complete set.
func (rp *Replayer) complete(h *Header, e *CompleteEvent) error {
	m, err := rp.mailboxCopy(e.UniqueID)
	if err != nil {
		return err
	}
	for r, err := range rp.State.Records(e.UniqueID, 0) {
		if err != nil {
			return err
		}
		if r.Commit == h.Number || r.Expunged != 0 {
			continue
		}
		if err := rp.expungeRecord(h, m, r, true); err != nil {
			return err
		}
	}
	m.Commit = h.Number
	return rp.State.PutMailbox(m)
}

// expunge marks records as expunged. It skips missing uids and expunged records.
func (rp *Replayer) expunge(h *Header, e *ExpungeEvent) error {
	m, err := rp.mailboxCopy(e.UniqueID)
	if err != nil {
		return err
	}
	for _, uid := range e.UIDs {
		r, err := rp.State.Record(e.UniqueID, uid)
		if err != nil {
			return err
		}
		if r == nil || r.Expunged != 0 {
			continue
		}
		if err := rp.expungeRecord(h, m, r, false); err != nil {
			return err
		}
	}
	m.Commit = h.Number
	return rp.State.PutMailbox(m)
}

// Recount computes the totals of a mailbox from its records. It returns a copy of the
// mailbox with new values of Records, Live, CRC and TopUID. A TopUID in the state above
// the last record is correct, because pruning records does not lower it.
func Recount(s State, uniqueid string) (*MailboxState, error) {
	old, err := s.Mailbox(uniqueid)
	if err != nil {
		return nil, err
	}
	if old == nil {
		return nil, fmt.Errorf("mailbox %q is not in the state", uniqueid)
	}
	m, crc := *old, new(cyrus.CRCMemory)
	m.Records, m.Live, m.CRC, m.TopUID = 0, 0, cyrus.NewCRC(), 0
	for r, err := range s.Records(uniqueid, 0) {
		if err != nil {
			return nil, err
		}
		m.count(crc, r, +1)
		m.TopUID = r.UID
	}
	return &m, nil
}
