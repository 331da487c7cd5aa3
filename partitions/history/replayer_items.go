package history

import (
	"fmt"
	"time"
)

// The kinds of ItemKey.
const (
	ItemSub         = "sub"
	ItemSeen        = "seen"
	ItemSieve       = "sieve"
	ItemSieveActive = "sieve-active"
	ItemQuota       = "quota"
	ItemAnnotation  = "annotation"
	ItemSealed      = "sealed" // the end of the log: its Event is the *SealedEvent
)

// ItemKinds returns every kind, in the order of a checkpoint.
func ItemKinds() []string {
	return []string{ItemSub, ItemSeen, ItemSieve, ItemSieveActive, ItemQuota, ItemAnnotation, ItemSealed}
}

// zeroTime means live, as a time of deletion.
var zeroTime time.Time

// ItemOf returns the key of the item that an event puts or removes. ok is false for
// events about mailboxes, records and messages.
func ItemOf(e Event) (key ItemKey, removed, ok bool) {
	switch e := e.(type) {
	case *SubEvent:
		return ItemKey{Kind: ItemSub, A: e.User, B: e.Name}, !e.Subscribed, true
	case *SeenEvent:
		return ItemKey{Kind: ItemSeen, A: e.User, B: e.UniqueID}, false, true
	case *SieveEvent:
		return ItemKey{Kind: ItemSieve, A: e.User, B: e.Filename}, false, true
	case *UnsieveEvent:
		return ItemKey{Kind: ItemSieve, A: e.User, B: e.Filename}, true, true
	case *SieveActiveEvent:
		return ItemKey{Kind: ItemSieveActive, A: e.User}, e.Filename == "", true
	case *QuotaEvent:
		return ItemKey{Kind: ItemQuota, A: e.Root}, false, true
	case *UnquotaEvent:
		return ItemKey{Kind: ItemQuota, A: e.Root}, true, true
	case *AnnotationEvent:
		return ItemKey{Kind: ItemAnnotation, A: e.Name, B: e.Entry, C: e.UserID}, e.Value == nil, true
	case *SealedEvent:
		return ItemKey{Kind: ItemSealed}, false, true
	}
	return ItemKey{}, false, false
}

// item makes the event the state of its item. A removal keeps the last event, so that the
// tombstone has the removed value. Removing an unknown item changes nothing.
func (rp *Replayer) item(h *Header, e Event) error {
	key, removed, ok := ItemOf(e)
	if !ok {
		return fmt.Errorf("%w: unexpected kind of event", ErrCorrupt)
	}
	if !removed {
		return rp.State.PutItem(&ItemState{Key: key, Event: e, Commit: h.Number})
	}
	old, err := rp.State.Item(key)
	if err != nil || old == nil {
		return err
	}
	return rp.markItemDeleted(h, old)
}

func (rp *Replayer) markItemDeleted(h *Header, old *ItemState) error {
	if !old.Deleted.IsZero() {
		return nil
	}
	n := *old
	n.Commit, n.Deleted = h.Number, h.Time
	return rp.State.PutItem(&n)
}

// unuser marks everything of the account as deleted, except annotations: those of the
// server do not belong to the account.
func (rp *Replayer) unuser(h *Header) error {
	for m, err := range rp.State.Mailboxes() {
		if err != nil {
			return err
		}
		if !m.Deleted.IsZero() {
			continue
		}
		if err := rp.change(h, m.UniqueID, func(m *MailboxState) { rp.delete(h, m) }); err != nil {
			return err
		}
	}
	for _, kind := range []string{ItemSub, ItemSeen, ItemSieve, ItemSieveActive, ItemQuota} {
		for i, err := range rp.State.Items(kind) {
			if err != nil {
				return err
			}
			if err := rp.markItemDeleted(h, i); err != nil {
				return err
			}
		}
	}
	return nil
}
