package csync_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/restore/csync"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
)

// The next batch is read from the bucket while the server answers to the one before: the answer
// waits until everything is read.
func TestNextBatchIsReadAhead(t *testing.T) {
	t.Parallel()
	const batch, messages, size = 1024, 1500, 2 << 10
	b, random := restoretest.New(t, "anne"), rand.New(rand.NewPCG(1, 2))
	box := b.Box("user.anne")
	for i := range messages {
		body := make([]byte, size)
		for i := range body {
			body[i] = byte('!' + random.IntN(90))
		}
		box.Deliver(restoretest.Mail(fmt.Sprint(i))+string(body)+"\r\n", 1600000000)
		if i+1 == batch || i+1 == messages { // each batch has its own packs
			b.Sync()
		}
	}
	var reads atomic.Int64
	b.Fault(func(op, key string) error {
		if strings.HasPrefix(key, "packs/") {
			reads.Add(1)
		}
		return nil
	})
	restore := func(stored func()) int64 {
		t.Helper()
		reads.Store(0)
		s := &setup{t: t, r: newReplica(), opt: csync.Options{KeepUIDs: true}}
		s.r.stored = stored
		if sums, err := s.run(b.Source(time.Time{})); err != nil || sums.Added != messages {
			t.Fatalf("%+v, %v", sums, err)
		}
		same(t, s.r, box, true)
		return reads.Load()
	}
	all := restore(nil)
	if all < 2 {
		t.Fatalf("%d reads of packs: too few for this test", all)
	}
	waited := false
	again := restore(func() {
		const most = 20 * time.Second
		for begun := time.Now(); !waited && reads.Load() < all; time.Sleep(time.Millisecond) {
			if time.Since(begun) > most {
				t.Errorf("%d of %d reads while the first MAILBOX was not answered", reads.Load(), all)
				break
			}
		}
		waited = true
	})
	if again != all {
		t.Errorf("%d reads instead of %d", again, all)
	}
}
