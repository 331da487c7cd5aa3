package csync

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
)

// manyTimes is how many times larger than the restore a mailbox must be before we try a query
// that needs no list of it.
const manyTimes = 8

// leaveOut removes messages from the list that the mailbox has already. Listing a large mailbox
// takes the server seconds, so that is the last resort.
func (w *work) leaveOut(ctx context.Context) error {
	w.continues = w.f.From.UniqueID == w.there.UniqueID && num(w.f.From.Fields, "UIDVALIDITY") == uint64(w.there.UIDValidity)
	w.annotated = annotationsOf(w.there.Fields)
	have := newHolding()
	known, err := w.asBackedUp(have)
	if err == nil && !known {
		known, err = w.noneIsThere(ctx)
	}
	if err == nil && !known {
		err = w.listed(ctx, have)
	}
	if err != nil {
		return err
	}
	return w.without(have)
}

// holding is the content of a mailbox.
type holding struct {
	live map[cyrus.GUID]int // number of copies
	at   map[uint32]cyrus.GUID
}

func newHolding() *holding {
	return &holding{live: map[cyrus.GUID]int{}, at: map[uint32]cyrus.GUID{}}
}

func (h *holding) add(r *cyrus.Record) error {
	if !r.Expunged() {
		h.live[r.GUID]++
	}
	h.at[r.UID] = r.GUID
	return nil
}

// asBackedUp compares CRCs to find out whether the mailbox is identical to the backup, with or
// without the messages to restore. Replication itself relies on these CRCs.
func (w *work) asBackedUp(have *holding) (bool, error) {
	if !w.continues || w.there.SyncCRC == 0 {
		return false, nil
	}
	crc, lost := w.f.From.CRC, map[uint32]bool{}
	whole := crc.Basic != 0 && crc.Equal(w.there.SyncCRC, w.there.SyncCRCAnnot)
	if !whole {
		for _, ref := range w.list {
			m, err := w.d.src.Message(ref)
			if err != nil {
				return false, err
			}
			if w.d.src.UniqueID(ref) == w.f.From.UniqueID && !m.Deleted {
				crc.Remove(&m.Record)
				lost[ref.UID] = true
			}
		}
		if crc.Basic == 0 || !crc.Equal(w.there.SyncCRC, w.there.SyncCRCAnnot) {
			return false, nil
		}
	}
	return true, w.d.src.EachLive(w.f.From.UniqueID, func(r *cyrus.Record) error {
		if lost[r.UID] {
			return nil
		}
		return have.add(r)
	})
}

// noneIsThere asks a large mailbox about a few messages. False means that the answer is unknown:
// RESERVE does not report a message as missing if it is expunged but not cleaned up yet
// (imap/sync_support.c, reserve_folder).
func (w *work) noneIsThere(ctx context.Context) (bool, error) {
	// RESERVE locks the messages that it finds, which a dry run must not do.
	if w.d.opt.DryRun || len(w.list) == 0 || len(w.list) > perBatch || uint64(len(w.list))*manyTimes > uint64(w.there.LastUID) {
		return false, nil
	}
	asked := map[cyrus.GUID]bool{}
	var guids []cyrus.GUID
	for _, ref := range w.list {
		m, err := w.d.src.Message(ref)
		if err != nil {
			return false, err
		}
		if !asked[m.GUID] {
			asked[m.GUID] = true
			guids = append(guids, m.GUID)
		}
	}
	missing, err := w.c.Reserve(ctx, w.there.Partition, []string{w.there.Name}, guids)
	return len(missing) == len(guids), err
}

// listed lists the whole mailbox.
func (w *work) listed(ctx context.Context, have *holding) error {
	fields, err := w.c.GetFullMailbox(ctx, w.there.Name, have.add)
	if err != nil {
		return err
	}
	if head, err := cyrus.ParseReply(fields); err == nil {
		w.there = head
	}
	w.annotated = annotationsOf(fields)
	return nil
}

// without removes messages that are present, by GUID, counting copies.
func (w *work) without(have *holding) error {
	var rest []restore.Ref
	var known, knownSize int64
	for _, ref := range w.list {
		m, err := w.d.src.Message(ref)
		if err != nil {
			return err
		}
		if have.live[m.GUID] > 0 {
			have.live[m.GUID]--
			known++
			knownSize += int64(m.Size)
			if have.at[ref.UID] != m.GUID {
				w.continues = false
			}
			continue
		}
		if ref.UID <= w.there.LastUID {
			w.continues = false // the uid is or was in use; uids are never reused
		}
		rest = append(rest, ref)
	}
	w.list, w.known = rest, int(known)
	w.d.rep.There(int(known), knownSize)
	return nil
}
