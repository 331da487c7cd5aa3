package partitions_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Retention prunes a message at the moment when the client copies it to another mailbox. The
// commit must not name a message that the backup no longer knows.
func TestMessageIsPrunedMeanwhile(t *testing.T) {
	c := &clocked{now: time.Now()}
	mem := memstore.New(c.clock)
	s := faultstore.New(mem)
	h := newHostWith(t, func(o *partitions.Options) { o.Now = c.clock }, s)
	inbox, other := newSource("user.anne"), newSource("user.anne.other")
	body := mail(1, 3000)
	r := inbox.deliver(body)
	h.sync("anne", inbox, other)
	inbox.flag(r, `\Expunged`)
	h.sync("anne", inbox, other)
	inbox.records = nil
	c.now = c.now.Add(10 * 24 * time.Hour)
	other.deliver(body)
	s.Add(faultstore.Fault{Count: 1,
		Match: func(op, key string) bool {
			return op == "put" && strings.HasPrefix(key, history.LogPrefix("user/anne"))
		},
		Call: func(string, string) {
			f := found(t, mem)
			tip, err := f.OpenTip(t.Context(), 0)
			if err != nil {
				t.Error(err)
			}
			o := repository.LockOptions{Owner: "test", Now: c.clock}
			if won, err := f.PutCommit(t.Context(), o.Header(f, tip, c.now), &history.PruneEvent{Before: c.now.Add(-time.Hour)}); err != nil || !won {
				t.Error(won, err)
			}
		}})
	locked := 0
	for range 3 {
		client := h.client()
		_, err := client.sync("anne", inbox, other)
		client.s.Close()
		if err == nil {
			break
		}
		if locked++; !errors.Is(err, cyrus.ErrLocked) {
			t.Fatal(err)
		}
	}
	if locked == 0 {
		t.Error("the commit got an OK")
	}
	h.expectSame("anne", inbox, other)
	checkBucket(t, mem, "user/anne", other).Close()
}
