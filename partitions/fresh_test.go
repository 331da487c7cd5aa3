package partitions_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions"
)

// patient sets a long timeout for the upload of packs.
func patient(o *partitions.Options) { o.OutageWait = time.Minute }

// The first mail of a new bucket fills packs while the bucket contains nothing else.
func TestFirstUploadFillsPacks(t *testing.T) {
	s := newStore()
	h := newHostWith(t, patient, s)
	box := newSource("user.anne")
	rnd := rand.NewChaCha8([32]byte{1})
	for range 40 { // three packs of 12 MiB
		body := make([]byte, 900_000)
		rnd.Read(body)
		box.deliver(body)
	}
	h.sync("anne", box)
	h.expectSame("anne", box)
	checkBucket(t, s, "user/anne", box)
}
