package partitions_test

import (
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// mergedLog is a backup whose log has one segment, with commits 1 to 4, and commit 5, the newest one.
type mergedLog struct {
	*clocked
	store *memstore.Store
	host  *host
	inbox *source
}

func newMergedLog(t *testing.T, withCheckpoint bool) *mergedLog {
	m := &mergedLog{clocked: &clocked{now: time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC)}, inbox: newSource("user.anne")}
	m.store = memstore.New(m.clock)
	m.host = newHostWith(t, m.options, m.store)
	for i := range 4 {
		m.inbox.deliver(mail(i, 500))
		m.host.sync("anne", m.inbox)
		if i == 1 && withCheckpoint {
			checkpoint(t, m.store)
		}
	}
	m.now = m.now.Add(5 * 24 * time.Hour)
	m.inbox.deliver(mail(10, 500))
	m.host.sync("anne", m.inbox)
	compacted(t, m.store, m.clock)
	if m.store.Bytes(history.SegmentKey("user/anne", 1, 4)) == nil || m.store.Bytes(history.LogKey("user/anne", 5)) == nil {
		t.Fatalf("%q: this test no longer covers its case", m.store.Keys("backups/"))
	}
	return m
}

// The newest commit is lost, and the one before it is in a segment: no daemon can confirm it by its own
// object. A segment never has the newest commit, so the log continues after a bridge.
func TestLostNewestAfterSegment(t *testing.T) {
	for _, withCheckpoint := range []bool{false, true} {
		for _, index := range []string{"kept", "lost", "of another host"} {
			t.Run(index, func(t *testing.T) {
				t.Parallel()
				m := newMergedLog(t, withCheckpoint)
				m.store.Lose(history.LogKey("user/anne", 5))
				switch index {
				case "lost":
					m.host.removeIndex()
				case "of another host":
					m.host = newHostWith(t, m.options, m.store)
				}
				m.host.syncUntil("anne", m.inbox)
				m.healed(t)
			})
		}
	}
}

// healed checks that the backup is whole, on this host, on another one, and in the bucket.
func (m *mergedLog) healed(t *testing.T) {
	t.Helper()
	m.host.expectSame("anne", m.inbox)
	newHostWith(t, m.options, m.store).expectSame("anne", m.inbox)
	if m.store.Bytes(history.LogKey("user/anne", 5)) != nil {
		t.Error("the number of the lost commit is used again")
	}
	checkBucket(t, m.store, "user/anne", m.inbox).Close()
	_, err := verify.Run(t.Context(), found(t, m.store), verify.Options{Report: func(p verify.Problem) {
		if !p.Lost {
			t.Errorf("verify: %s", p)
		}
	}})
	if err != nil {
		t.Error(err)
	}
}

// verify reports the loss, and a repair puts the bridge.
func TestRepairLostNewestAfterSegment(t *testing.T) {
	for _, withCheckpoint := range []bool{false, true} {
		m := newMergedLog(t, withCheckpoint)
		m.store.Lose(history.LogKey("user/anne", 5))
		reported := false
		_, err := verify.Run(t.Context(), found(t, m.store), verify.Options{Report: func(verify.Problem) { reported = true }})
		if err != nil || !reported {
			t.Errorf("verify reports nothing: %v", err)
		}
		_, err = verify.Repair(t.Context(), found(t, m.store), verify.RepairOptions{Problem: func(verify.Problem) {}, Report: func(verify.Change) {},
			Lock: repository.LockOptions{Owner: "test", Host: "host", Now: m.clock}, Others: []repository.Config{{Name: "p0", Store: m.store}}})
		if err != nil {
			t.Fatal(err)
		}
		m.host.syncUntil("anne", m.inbox)
		m.healed(t)
	}
}
