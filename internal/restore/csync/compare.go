package csync

import (
	"context"

	"backupd/internal/restore"
	"backupd/replication/cyrus"
)

// manyTimes is how much larger than what is restored a mailbox has to be for the question
// which needs no list of it.
const manyTimes = 8

// leaveOut takes out of the list what is in the mailbox already.
func (w *work) leaveOut(ctx context.Context) error {
	w.continues = w.f.From.UniqueID == w.there.UniqueID && num(w.f.From.Fields, "UIDVALIDITY") == uint64(w.there.UIDValidity)
	none, err := w.noneIsThere(ctx)
	if err != nil || !none {
		if err == nil {
			err = w.compare(ctx)
		}
		return err
	}
	w.annotated = annotationsOf(w.there.Fields)
	for _, ref := range w.list {
		w.continues = w.continues && ref.UID > w.there.LastUID
	}
	return nil
}

// noneIsThere asks about a few messages for a large mailbox without having it listed,
// which takes the server seconds. False means that it cannot be told: a message that is
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

// compare asks what is in the mailbox and leaves out what is there already, by GUID
// and as often as it is there.
func (w *work) compare(ctx context.Context) error {
	have := map[cyrus.GUID]int{}
	at := map[uint32]cyrus.GUID{}
	fields, err := w.c.GetFullMailbox(ctx, w.there.Name, func(r *cyrus.Record) error {
		if !r.Expunged() {
			have[r.GUID]++
		}
		at[r.UID] = r.GUID
		return nil
	})
	if err != nil {
		return err
	}
	if head, err := cyrus.ParseReply(fields); err == nil {
		w.there = head
	}
	w.annotated = annotationsOf(fields)
	var rest []restore.Ref
	var known, knownSize int64
	for _, ref := range w.list {
		m, err := w.d.src.Message(ref)
		if err != nil {
			return err
		}
		if have[m.GUID] > 0 {
			have[m.GUID]--
			known++
			knownSize += int64(m.Size)
			if at[ref.UID] != m.GUID {
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
