package partitions_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/partitions"
)

// A message is delivered to two users, and the client sends it once for both: their backups have it, whether
// it goes into commits or into packs.
func TestMessageOfSeveralBackups(t *testing.T) {
	for name, set := range map[string]func(*partitions.Options){
		"inline":         nil,
		"packed":         func(o *partitions.Options) { o.InlineLimit = 1 << 10 },
		"shared by none": func(o *partitions.Options) { o.InlineLimit, o.DedupPerBackup = 1<<10, true },
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore()
			h := newHostWith(t, set, store)
			adam, eve := newSource("user.adam"), newSource("user.eve")
			sent := newSource("user.adam.Sent")
			h.sync("adam", adam, sent)
			h.sync("eve", eve)
			for n := range 3 {
				body := mail(n, 500<<n) // some are larger than the limit
				for _, box := range []*source{adam, sent, eve} {
					box.deliver(body)
				}
			}
			c := h.client()
			there, err := c.getMailboxes(adam, sent, eve)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.updateAll(there, adam, sent, eve); err != nil {
				t.Fatal(err)
			}
			c.s.Close()
			h.expectSame("adam", adam, sent)
			h.expectSame("eve", eve)
			checkBucket(t, store, "user/adam", adam, sent).Close()
			checkBucket(t, store, "user/eve", eve).Close()
		})
	}
}
