package partitions_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// leftOver returns an error if a state shows something of the former person. A person without
// an INBOX cannot be told from the former one: it is the real client that removes his scripts.
func (a *account) leftOver(m *history.Mem) error {
	if !a.person || !a.hasInbox() {
		return nil
	}
	for kind, has := range map[string]bool{history.ItemSeen: a.seen != "", history.ItemSieve: a.sieve != ""} {
		for i, err := range m.Items(kind) {
			if err != nil {
				return err
			}
			if i.Deleted.IsZero() && !has {
				return fmt.Errorf("%v of the former person is live", i.Key)
			}
		}
	}
	return nil
}

func (a *account) hasInbox() bool {
	for _, b := range a.boxes {
		if cyrus.IsInbox(b.name) {
			return true
		}
	}
	return false
}

// where returns the store of a backup, nil if there is no such backup.
func (w *model) where(path string) (found objstore.Store) {
	for _, s := range w.stores {
		if hasBackup(w.t, s, path) {
			if found != nil {
				w.t.Fatalf("%s is in both partitions", path)
			}
			found = s
		}
	}
	return found
}

// compare compares the bucket and both indexes with the source.
func (w *model) compare(t *rapid.T, user string) {
	path, a := "user/"+user, w.users[user]
	boxes := slices.Collect(maps.Values(a.boxes))
	store := w.where(path)
	if store == nil {
		if len(boxes) > 0 {
			t.Fatalf("%s has mailboxes but no backup", user)
		}
		return
	}
	n := checkLog(w.t, store, path)
	if n == 0 {
		return
	}
	m := load(w.t, store, path)
	defer m.Close()
	if err := errors.Join(sameBoxes(m, boxes), a.leftOver(m)); err != nil {
		t.Fatalf("%s after commit %d: %v", user, n, err)
	}
	checkBodies(w.t, store, path)
	clones := make([]*source, 0, len(boxes))
	for _, b := range boxes {
		clones = append(clones, b.clone())
	}
	w.past = append(w.past, moment{path: path, number: n, boxes: clones})
	for i, h := range w.hosts {
		w.hangUp(i)
		// Background work can lock a backup for longer than a command waits in this test.
		err := h.indexDiffers(user, boxes...)
		for end := time.Now().Add(10 * time.Second); errors.Is(err, cyrus.ErrLocked) && time.Now().Before(end); {
			err = h.indexDiffers(user, boxes...)
		}
		if err != nil {
			t.Fatalf("host %d: %v", i, err)
		}
		c := h.client()
		sent, err := w.push(c, user)
		c.s.Close()
		if sent != 0 || err != nil {
			t.Fatalf("host %d: another sync of %s, after commit %d, sent %d commands, %v", i, user, n, sent, err)
		}
	}
}

// sameBoxes returns an error if the live mailboxes of a state differ from the source.
func sameBoxes(m *history.Mem, boxes []*source) error {
	var live []string
	for mb, err := range m.Mailboxes() {
		if err != nil {
			return err
		}
		if mb.Deleted.IsZero() {
			live = append(live, mb.Name+" ("+mb.UniqueID+")")
		}
	}
	if len(live) != len(boxes) {
		return fmt.Errorf("%d mailboxes (%s), want %d", len(live), strings.Join(live, ", "), len(boxes))
	}
	for _, b := range boxes {
		if err := b.differs(m); err != nil {
			return err
		}
	}
	return nil
}

// checkPast loads every state that was compared with the source, and compares it again with
// the copy of the source from then.
func (w *model) checkPast(t *rapid.T) {
	for _, p := range w.past {
		m, err := history.Load(w.t.Context(), w.where(p.path), p.path, history.Moment{Number: p.number})
		if err != nil {
			t.Fatal(err)
		}
		if err := sameBoxes(m, p.boxes); err != nil {
			t.Fatalf("%s at commit %d: %v", p.path, p.number, err)
		}
		m.Close()
	}
}
