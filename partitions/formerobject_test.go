package partitions_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
)

// The bucket was rolled back, and another host wrote another commit under a number that this
// host has read before: the host does not use cached data of the former object for the new one.
func TestReplacedObject(t *testing.T) {
	t.Parallel()
	store := withRepository(t)
	var ahead time.Duration
	h := newHostWith(t, func(o *partitions.Options) {
		o.NoCheckpoints, o.Now = true, func() time.Time { return time.Now().Add(ahead) }
	}, store)
	box := newSource("user.anne")
	box.deliver(mail(1, 500))
	h.sync("anne", box)
	then, old := store.Snapshot(), box.clone()

	h.fetches("anne", box, box.deliver(mail(2, 500)))
	store.Rollback(then, "", false)
	ahead = time.Hour
	r := old.deliver(mail(3, 500))
	newHost(t, store).sync("anne", old)
	h.fetches("anne", old, r)
}

// fetches syncs a mailbox and reads one of its messages from the bucket.
func (h *host) fetches(user string, box *source, r *cyrus.Record) {
	h.t.Helper()
	h.sync(user, box)
	c := h.client()
	defer c.s.Close()
	_, body, err := c.s.GetFetch(h.t.Context(), cyrus.Fetch{Name: box.name, UniqueID: box.uniqueid, GUID: r.GUID, UID: r.UID})
	if err != nil {
		h.t.Fatal(err)
	}
	defer body.Close()
	var got bytes.Buffer
	if _, err := got.ReadFrom(body); err != nil || !bytes.Equal(got.Bytes(), box.bodies[r.GUID]) {
		h.t.Errorf("uid %d has %d bytes, %v; want %d", r.UID, got.Len(), err, len(box.bodies[r.GUID]))
	}
}
