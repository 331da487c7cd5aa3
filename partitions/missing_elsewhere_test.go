package partitions_test

import (
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions"
)

// A body that one host lacks reaches another host. The first host does not ask for it again.
func TestMissingBodyArrivesElsewhere(t *testing.T) {
	s := newStore()
	var ahead time.Duration
	later := func(o *partitions.Options) { o.Now = func() time.Time { return time.Now().Add(ahead) } }
	first, second := newHostWith(t, later, s), newHostWith(t, later, s)
	inbox := newSource("user.anne")
	bad := inbox.deliver(mail(1, 500))
	body := inbox.bodies[bad.GUID]
	delete(inbox.bodies, bad.GUID)
	first.sync("anne", inbox)
	inbox.bodies[bad.GUID] = body
	ahead = 25 * time.Hour
	second.sync("anne", inbox)
	checkBucket(t, s, "user/anne", inbox)
	first.expectSame("anne", inbox)
	ahead = 50 * time.Hour
	first.expectSame("anne", inbox)
}
