package partitions_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Every put of a set-aside arrives twice, and the second answer counts: "exists already". There is one
// copy nevertheless, and the set-aside is complete.
func TestSetAsidePutsTwice(t *testing.T) {
	w := newAsideWorld(t)
	net := faultstore.New(w.store)
	net.Add(faultstore.Fault{Twice: true})
	f := w.remains()
	f.Partition.Store = net
	where, err := setAside(t, f)
	if err != nil {
		t.Fatal(err)
	}
	w.old(where)
	n := 0
	for _, err := range repository.BrowseAside(t.Context(), w.Config()) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n != 1 {
		t.Errorf("%d copies, want 1", n)
	}
	w.begun()
}
