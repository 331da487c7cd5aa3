package history

import (
	"slices"
	"time"
)

// prune drops tombstones and expunged records from before e.Before. Then it drops the
// messages that no remaining record names.
func (rp *Replayer) prune(e *PruneEvent) error {
	named := &prefixSet{}
	for m, err := range rp.State.Mailboxes() {
		if err != nil {
			return err
		}
		switch {
		case deletedBefore(m.Deleted, e.Before):
			err = rp.State.DropMailbox(m.UniqueID)
		case !rp.heads:
			err = rp.pruneRecords(m, named, func(r *RecordState) (drop, names bool) {
				drop = expungedBefore(r, e.Before)
				return drop, !drop
			})
		}
		if err != nil {
			return err
		}
	}
	if err := rp.pruneItems(e.Before); err != nil || rp.heads {
		return err
	}
	named.sort()
	return rp.State.KeepMessages(func(m *MessageState) bool { return named.has(guidPrefix(m.GUID)) })
}

func deletedBefore(deleted, before time.Time) bool {
	return !deleted.IsZero() && deleted.Before(before)
}

func expungedBefore(r *RecordState, before time.Time) bool {
	return r.Expunged != 0 && r.Expunged < before.Unix()
}

func (rp *Replayer) pruneItems(before time.Time) error {
	for _, kind := range ItemKinds() {
		for i, err := range rp.State.Items(kind) {
			if err == nil && deletedBefore(i.Deleted, before) {
				err = rp.State.DropItem(i.Key)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// pruneRecords drops some records of a mailbox, and adds the messages of records that need them to named.
func (rp *Replayer) pruneRecords(old *MailboxState, named *prefixSet, choose func(*RecordState) (drop, names bool)) error {
	m := *old
	for r, err := range rp.State.Records(m.UniqueID, 0) {
		if err != nil {
			return err
		}
		drop, names := choose(r)
		if names {
			named.add(guidPrefix(r.GUID))
		}
		if !drop {
			continue
		}
		if err := rp.State.DropRecord(m.UniqueID, r.UID); err != nil {
			return err
		}
		m.count(&rp.crc, r, -1)
	}
	if m.Records == old.Records {
		return nil
	}
	return rp.State.PutMailbox(&m)
}

// prefixSet is a set of the first eight bytes of hashes, to save memory for millions of
// them. Two hashes with the same prefix only keep an item too long, and do so in every
// replay.
type prefixSet struct{ prefixes []uint64 }

func (s *prefixSet) add(p uint64) { s.prefixes = append(s.prefixes, p) }

// sort must be called after the last add, and before has.
func (s *prefixSet) sort() {
	slices.Sort(s.prefixes)
	s.prefixes = slices.Compact(s.prefixes)
}

func (s *prefixSet) has(p uint64) bool {
	_, ok := slices.BinarySearch(s.prefixes, p)
	return ok
}
