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
			err = rp.pruneRecords(m, e.Before, named)
		}
		if err != nil {
			return err
		}
	}
	for _, kind := range ItemKinds() {
		for i, err := range rp.State.Items(kind) {
			if err != nil {
				return err
			}
			if !deletedBefore(i.Deleted, e.Before) {
				continue
			}
			if err := rp.State.DropItem(i.Key); err != nil {
				return err
			}
		}
	}
	if rp.heads {
		return nil
	}
	named.sort()
	return rp.State.KeepMessages(func(m *MessageState) bool { return named.has(guidPrefix(m.GUID)) })
}

func deletedBefore(deleted, before time.Time) bool {
	return !deleted.IsZero() && deleted.Before(before)
}

// pruneRecords drops expunged records of a mailbox and adds the messages of the other
// records to named.
func (rp *Replayer) pruneRecords(old *MailboxState, before time.Time, named *prefixSet) error {
	m := *old
	for r, err := range rp.State.Records(m.UniqueID, 0) {
		if err != nil {
			return err
		}
		if r.Expunged == 0 || r.Expunged >= before.Unix() {
			named.add(guidPrefix(r.GUID))
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
