package partitions_test

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A set-aside is interrupted when all commits are copied and removed. The commit that announces the lock
// of the next attempt has number 1 then: it does not replace the copy of the first commit.
func TestSetAsideAfterItsLogIsRemoved(t *testing.T) {
	w := newAsideWorld(t)
	was, net := []*source{w.anne[0].clone(), w.anne[1].clone()}, faultstore.New(w.store)
	net.Add(faultstore.Fault{Before: faultstore.Lost, Match: func(op, key string) bool {
		return op == "delete" && strings.HasSuffix(key, "user/anne/backup.json")
	}})
	f := w.remains()
	f.Partition.Store = net
	if _, err := setAside(t, f); err == nil {
		t.Fatal("the set-aside was not interrupted")
	}
	first, err := setAside(t, w.remains())
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for old, err := range repository.BrowseAside(t.Context(), w.Config()) {
		if err != nil {
			t.Fatal(err)
		}
		m, err := history.Load(t.Context(), old.Partition.Store, old.Path, history.Moment{Number: 1})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(mailboxesOf(t, m)); n > 0 {
			whole++
			checkBucket(t, old.Partition.Store, old.Path, was...).Close()
		}
		m.Close()
	}
	if whole != 1 {
		t.Errorf("%d copies have the first commit, want 1; the last one is %s", whole, first)
	}
	w.begun()
}

func mailboxesOf(t *testing.T, m *history.Mem) (names []string) {
	t.Helper()
	for mb, err := range m.Mailboxes() {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, mb.Name)
	}
	return names
}
