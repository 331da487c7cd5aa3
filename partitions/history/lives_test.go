package history

import (
	"fmt"
	"testing"
	"time"
)

// The mail server's clock for a new INBOX can be a tick, and so a whole second, before the one for
// the deletion that preceded it. The mail of the former person must not become the new person's.
func TestLifeOfDeletedMailbox(t *testing.T) {
	t.Parallel()
	began := time.Unix(1795899781, 0)
	ls := Lives{{Number: 1}, {Number: 2, First: 5, Inbox: "inbox2", Began: began}}
	for _, c := range []struct {
		after time.Duration
		life  int
	}{{-time.Hour, 1}, {0, 1}, {time.Second, 1}, {2 * time.Second, 2}, {time.Hour, 2}} {
		m := &MailboxState{Name: fmt.Sprintf("DELETED.user.rita.%X", began.Add(c.after).Unix())}
		if l := ls.Of(m, "DELETED"); l.Number != c.life {
			t.Errorf("deleted %v after the life began: life %d, want %d", c.after, l.Number, c.life)
		}
	}
}
