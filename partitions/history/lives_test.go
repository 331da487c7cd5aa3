package history

import (
	"fmt"
	"testing"
	"time"
)

// The mail server's clock for a new INBOX can be a tick, and so a whole second, before the one for
// the deletion that preceded it, or seconds on a virtual machine that waits for its processor. The
// mail of the former person must not become the new person's.
func TestLifeOfDeletedMailbox(t *testing.T) {
	t.Parallel()
	began := time.Unix(1795899781, 0)
	ls := Lives{{Number: 1}, {Number: 2, First: 5, Inbox: "inbox2", Began: began}}
	for _, c := range []struct {
		created, deleted time.Duration
		life             int
	}{
		{-2 * time.Hour, -time.Hour, 1}, {0, 0, 1}, {0, time.Second, 1}, {0, 3 * time.Second, 1}, {0, time.Hour, 2},
		{time.Second, time.Second, 1}, {time.Second, 2 * time.Second, 2},
		{-time.Second, 2 * time.Second, 1}, {-time.Hour, time.Minute, 1}, {-time.Hour, 61 * time.Second, 2},
	} {
		m := &MailboxState{
			Name:   fmt.Sprintf("DELETED.user.rita.%X", began.Add(c.deleted).Unix()),
			Fields: SetField(nil, "UIDVALIDITY", fmt.Sprint(began.Add(c.created).Unix())),
		}
		if l := ls.Of(m, "DELETED"); l.Number != c.life {
			t.Errorf("created %v and deleted %v after the life began: life %d, want %d", c.created, c.deleted, l.Number, c.life)
		}
	}
}
