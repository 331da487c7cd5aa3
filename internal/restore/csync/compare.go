package csync

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
)

// manyTimes is how much larger than what is restored a mailbox has to be for the question
// which needs no list of it.
const manyTimes = 8

// leaveOut takes out of the list what is in the mailbox already. To have a large mailbox
// listed takes the server seconds: that comes last.
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

// holding is what a mailbox holds.
type holding struct {
	live map[cyrus.GUID]int // how often
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

// asBackedUp tells from the CRCs whether the mailbox is as the backup has it, or as it
// would be without what is to come back: replication itself goes by no more.
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
			if ref.UniqueID == w.f.From.UniqueID && !m.Deleted {
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

// noneIsThere asks about a few messages for a large mailbox. False means that it cannot be told: a message that is
// expunged there, but not cleaned up yet, is not missing for RESERVE
// (imap/sync_support.c, reserve_folder).
func (w *work) noneIsThere(ctx context.Context) (bool, error) {
	// RESERVE keeps a hold of what it finds: nothing that a dry run does.
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

// listed asks for all that is in the mailbox.
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

// without leaves out what is there, by GUID and as often as it is there.
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
			w.continues = false // its uid is taken, or was: no uid is used twice
		}
		rest = append(rest, ref)
	}
	w.list, w.known = rest, int(known)
	w.d.rep.There(int(known), knownSize)
	return nil
}
