package partitions

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Mailboxes come in the order of their creation, whatever their number: in one batch or several,
// and as one range of the index or with others between them.
func TestMailboxesOfState(t *testing.T) {
	var reads atomic.Int64
	x, err := index.Open(t.TempDir(), index.Options{OnRead: func(index.Key) { reads.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	for id, n := range []int{0, 1, fewLookups - 1, 1000, maxMailboxBatch, maxMailboxBatch + 1, 5 * maxMailboxBatch} {
		fillMailboxes(t, x, uint64(id), n)
		for name, list := range map[string]func(*State) func(func(*history.MailboxState, error) bool){
			"Mailboxes":   func(s *State) func(func(*history.MailboxState, error) bool) { return s.Mailboxes() },
			"EachMailbox": func(s *State) func(func(*history.MailboxState, error) bool) { return s.EachMailbox() },
		} {
			before, seen := reads.Load(), 0
			err := x.View(func(txn *index.Txn) error {
				for m, err := range list(&State{t: txn, id: uint64(id), path: "user/anne"}) {
					if err != nil {
						return err
					}
					if seen++; m.Seq != uint64(seen) || m.UniqueID != uniqueID(seen, n) || len(m.Fields) != seen%4 {
						return fmt.Errorf("mailbox %d is %+v", seen, m)
					}
				}
				return nil
			})
			if err != nil || seen != n {
				t.Errorf("%s: %d of %d mailboxes, %v", name, seen, n, err)
			}
			if r := reads.Load() - before; n >= fewLookups && n <= maxMailboxBatch && r > 4 {
				t.Errorf("%s: %d reads of the index for %d mailboxes", name, r, n)
			}
		}
	}
}

// uniqueID gives the mailboxes another order than that of their creation.
func uniqueID(seq, n int) string { return fmt.Sprintf("%08d", seq*7919%(n+7)) }

func fillMailboxes(t *testing.T, x *index.Index, id uint64, n int) {
	t.Helper()
	err := x.UpdateLong(func(txn *index.Txn) error {
		st := &State{t: txn, id: id, path: "user/anne"}
		for seq := 1; seq <= n; seq++ {
			m := &history.MailboxState{Seq: uint64(seq), UniqueID: uniqueID(seq, n), Name: fmt.Sprintf("user.anne.%d", seq)}
			for i := range seq % 4 {
				m.Fields = append(m.Fields, dlist.P("ACL", dlist.S(strings.Repeat("x", i))))
			}
			if err := st.PutMailbox(m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A mailbox without a state is an error, and not left out.
func TestMailboxWithoutState(t *testing.T) {
	x, err := index.Open(t.TempDir(), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	for id, n := range []int{1, 2 * fewLookups} {
		fillMailboxes(t, x, uint64(id), n)
		if err := x.Update(func(txn *index.Txn) error { return txn.Delete(index.MailboxKey(uint64(id), uniqueID(n, n))) }); err != nil {
			t.Fatal(err)
		}
		err := x.View(func(txn *index.Txn) error {
			for _, err := range (&State{t: txn, id: uint64(id), path: "user/anne"}).Mailboxes() {
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), "has an order but no state") {
			t.Errorf("%d mailboxes: %v", n, err)
		}
	}
}

// Mailboxes with long annotations are not in memory together.
func TestMailboxesWithLongFields(t *testing.T) {
	x, err := index.Open(t.TempDir(), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	const n = 48
	text := strings.Repeat("x", 600<<10)
	err = x.UpdateLong(func(txn *index.Txn) error {
		st := &State{t: txn, id: 1, path: "user/anne"}
		for seq := 1; seq <= n; seq++ {
			m := &history.MailboxState{Seq: uint64(seq), UniqueID: uniqueID(seq, n), Name: fmt.Sprintf("user.anne.%d", seq)}
			if m.Fields = append(m.Fields, dlist.P("ACL", dlist.S(""))); seq%2 == 0 {
				m.Fields[0].Value.Str = text
			}
			if err := st.PutMailbox(m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = x.View(func(txn *index.Txn) error {
		st := &State{t: txn, id: 1, path: "user/anne"}
		var b mailboxBatch
		if _, err := b.next(st); err != nil {
			return err
		}
		if len(b.buf) > 8<<20 {
			t.Errorf("a batch takes %d MiB", len(b.buf)>>20)
		}
		seen := 0
		for m, err := range st.EachMailbox() {
			if err != nil {
				return err
			}
			if seen++; m.Seq != uint64(seen) || (m.Fields[0].Value.Str == text) != (seen%2 == 0) {
				t.Errorf("mailbox %d is %d %s", seen, m.Seq, m.UniqueID)
			}
		}
		if seen != n {
			t.Errorf("%d of %d mailboxes", seen, n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
