package partitions_test

import (
	"errors"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// The source was rolled back and gave a UID to another message, and the backup was rolled back
// to a state before that. The client does not send that message, since it assumes that the
// server has the UID. The client is deferred, and then sends the mailbox whole.
func TestReusedUID(t *testing.T) {
	t.Parallel()
	store := withRepository(t)
	h := newHost(t, store)
	box := newSource("user.anne")
	box.deliver(mail(1, 500))
	box.deliver(mail(2, 500))
	h.sync("anne", box)
	box.records, box.lastUID, box.modseq = box.records[:1], 1, box.modseq+1
	box.deliver(mail(3, 500))
	c := h.client()
	defer c.s.Close()
	if _, err := c.sync("anne", box); !errors.Is(err, cyrus.ErrLocked) || errors.Is(err, cyrus.ErrBadParameters) {
		t.Fatalf("a record of a message that the server lacks: %v, want LOCKED", err)
	}
	c.s.Restart(t.Context())
	h.sync("anne", box)
	h.expectSame("anne", box)
	checkBucket(t, store, "user/anne", box)
}
