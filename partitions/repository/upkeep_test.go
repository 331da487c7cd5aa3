package repository

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
)

// A host that has slept longer than its lease does nothing more with it, although its
// monotonic clock and its timers stopped meanwhile.
func TestUpkeepAfterSleep(t *testing.T) {
	h := newHolder(memstore.New(nil), CollectionKey, "the upkeep", ErrUpkeep, LockOptions{Owner: "test"})
	if err := h.hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	u := &Upkeep{holder: h}
	if err := u.Check(); err != nil {
		t.Errorf("a new lease: %v", err)
	}
	now := time.Now()
	h.setRenewed(leaseTime{mono: now, wall: now.Round(0).Add(-3 * time.Minute)})
	if err := u.Check(); err == nil || !strings.Contains(err.Error(), "was lost") {
		t.Errorf("after a sleep: %v", err)
	}
	if u.Context().Err() == nil {
		t.Error("the context of the upkeep goes on")
	}
}
