package partitions_test

import (
	"errors"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// The mail server could not read a message of eve once. Now it has sent the same message for adam, whose commit has
// taken it, and the stage has dropped it. A RENAME of the mailbox of eve to bob copies it from the backup of adam. If that
// is not possible, the answer is not OK, until the next unit of work.
func TestTakenMessageOfAMovedMailbox(t *testing.T) {
	for _, gone := range []bool{false, true} {
		x := beginTaken(t, plainClient)
		from := newSource("user.eve.Box")
		r := from.deliver(mail(1, 1500))
		body := from.bodies[r.GUID]
		delete(from.bodies, r.GUID)
		x.c.s.Restart(t.Context())
		x.h.sync("eve", x.eve, from)
		x.c = plainClient(x.h)
		if _, err := x.c.getMailboxes(x.adam, x.old, x.eve); err != nil {
			t.Fatal(err)
		}
		x.deliver(1, true, x.adam)
		x.mustApply(x.adam)
		x.drop(10)
		if gone {
			keys := x.store.Keys("backups/user/adam/log/")
			x.store.Lose(keys[len(keys)-1])
		}
		rename := cyrus.Rename{Old: from.name, New: "user.bob.Box"}
		err := x.c.s.ApplyRename(t.Context(), rename)
		if gone {
			if !errors.Is(err, cyrus.ErrLocked) {
				t.Fatalf("%v, want ErrLocked", err)
			}
			x.c.s.Restart(t.Context())
			err = x.c.s.ApplyRename(t.Context(), rename)
		}
		if err != nil {
			t.Fatal(err)
		}
		x.c.s.Close()
		if gone {
			continue
		}
		m := load(t, x.store, "user/bob")
		checkBody(t, m, history.NewObjects(x.store, 0), r.GUID, body)
		m.Close()
	}
}
