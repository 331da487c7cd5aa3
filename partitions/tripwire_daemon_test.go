package partitions_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/tripwire"
)

// newWiredDaemon is a wired whose daemon has the rule.
func newWiredDaemon(t *testing.T) *wired {
	w := newWired(t)
	w.h.stop()
	w.h.opt.Tripwire = tripwire.Rule{Share: 30, Window: 24 * time.Hour, Least: 25}
	w.h.start()
	return w
}

// held waits for the holds of the backup, or until none can appear.
func (w *wired) held(wait time.Duration) []repository.Hold {
	w.t.Helper()
	for end := time.Now().Add(wait); ; time.Sleep(5 * time.Millisecond) {
		h, err := w.found().ReadHolds(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if len(h.Holds) > 0 || time.Now().After(end) {
			return h.Holds
		}
	}
}

// A daemon places a hold when the deletions that it receives fire the rule, and only then.
func TestTripwireOfDaemon(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(*wired)
		fires   bool
	}{
		"expunged": {func(w *wired) { w.expunge(w.inbox, 40) }, true},
		"little by little": {func(w *wired) {
			for range 8 {
				w.expunge(w.inbox, 5)
				w.later(time.Hour)
			}
		}, true},
		"too slowly": {func(w *wired) {
			for range 8 {
				w.expunge(w.inbox, 5)
				w.later(12 * time.Hour)
			}
		}, false},
		"replaced": {func(w *wired) {
			w.expunge(w.inbox, 40)
			w.deliver(w.inbox, 40)
		}, true},
		"moved": {func(w *wired) { w.move(w.inbox, w.work, 40) }, false},
		"a deleted mailbox": {func(w *wired) {
			w.clock.Add(int64(time.Minute))
			w.rename(w.work, fmt.Sprintf("DELETED.user.anne.Work.%X", w.now().Unix()))
		}, true},
		"the account": {func(w *wired) {
			w.do(func(c *client) error { return c.s.ApplyUnuser(c.t.Context(), "anne") })
			w.boxes = nil
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWiredDaemon(t)
			c.happens(w)
			w.later(time.Hour)
			wait := 10 * time.Second
			if !c.fires {
				wait = 2 * time.Second
			}
			holds := w.held(wait)
			if c.fires != (len(holds) == 1) {
				t.Fatalf("%v", holds)
			}
			if c.fires && (holds[0].Kind != repository.HoldTripwire || !strings.Contains(holds[0].Reason, " of 100 messages were deleted")) {
				t.Errorf("%v", holds)
			}
		})
	}
}

// An alarm that cannot be stored refuses no mail, and is repeated with a later commit.
func TestTripwireIsNotStored(t *testing.T) {
	w := newWiredDaemon(t)
	denied := make(chan struct{}, 100)
	w.store.SetFaults(func(op, key string) error {
		if op == "put" && key == repository.HoldsKey("user/anne") {
			denied <- struct{}{}
			return errDenied
		}
		return nil
	}, nil)
	w.expunge(w.inbox, 40)
	w.later(time.Hour)
	<-denied
	w.deliver(w.inbox, 3)
	w.later(time.Minute)
	w.h.expectSame("anne", w.boxes...)
	w.store.SetFaults(nil, nil)
	for range 100 { // the check of the commit before may be running
		w.deliver(w.inbox, 1)
		w.later(tripwire.Settle)
		if len(w.held(2*time.Second)) == 1 {
			return
		}
	}
	t.Error("no hold")
}

// The backup is erased while a daemon checks it. The hold does not stay for the next backup of the
// name, unless the daemon may not delete.
func TestTripwireOfErased(t *testing.T) {
	for _, may := range []bool{true, false} {
		t.Run(fmt.Sprint("may delete ", may), func(t *testing.T) {
			t.Parallel()
			w := newWiredDaemon(t)
			key, ended := repository.HoldsKey("user/anne"), make(chan struct{}, 100)
			w.store.SetFaults(func(op, k string) error {
				if k == key && op == "put" {
					for _, k := range w.store.Keys(repository.BackupPrefix("user/anne")) {
						w.store.Lose(k)
					}
				}
				if k == key && op == "delete" && !may {
					ended <- struct{}{}
					return errDenied
				}
				return nil
			}, func(op, k string) error {
				if k == key && op == "delete" {
					ended <- struct{}{}
				}
				return nil
			})
			w.expunge(w.inbox, 40)
			w.later(time.Hour)
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				t.Fatal("the daemon has not withdrawn its hold")
			}
			if left := len(w.store.Keys(key)); (left == 0) != may {
				t.Errorf("%d objects", left)
			}
		})
	}
}
