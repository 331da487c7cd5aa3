package history_test

import (
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// A seen state is an item, so its mailbox may be unknown. Deleting the account removes it,
// but does not remove the seal.
func TestReplaySeenAndSealed(t *testing.T) {
	m, err := history.NewMem(t.Context(), memstore.New(nil), "user/anne")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	rp := history.Replayer{State: m}
	h := history.Header{Backup: "user/anne", Number: 3, Time: time.Unix(1700000000, 0)}
	for _, e := range []history.Event{
		&history.SealedEvent{Reason: "moved", To: "there"}, &history.SeenEvent{User: "anne", UniqueID: "unknown"},
		&history.AdoptedEvent{UniqueID: "unknown"}, &history.UnuserEvent{User: "anne"},
	} {
		if err := rp.Apply(h, e); err != nil {
			t.Errorf("%s: %v", e.Kind(), err)
		}
	}
	for kind, live := range map[string]bool{history.ItemSealed: true, history.ItemSeen: false} {
		for i, err := range m.Items(kind) {
			if err != nil || i.Deleted.IsZero() != live {
				t.Errorf("%s: deleted %v, %v", kind, i.Deleted, err)
			}
		}
	}
}
