package partitions_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// taken is a unit of work on adam and eve, command by command.
type taken struct {
	*several
	c *client
}

// begin begins it with the answers about both users. Nothing is delivered yet.
func beginTaken(t *testing.T, as func(*host) *client, more ...func(*partitions.Options)) *taken {
	w := &several{t: t, store: newStore(), adam: newSource("user.adam"), eve: newSource("user.eve"), old: newSource("user.adam.Archive")}
	w.h = newHostWith(t, func(o *partitions.Options) {
		o.InlineLimit = 4 << 10
		for _, set := range more {
			set(o)
		}
	}, w.store)
	w.h.sync("adam", w.adam, w.old)
	w.h.sync("eve", w.eve)
	x := &taken{w, as(w.h)}
	if _, err := x.c.getMailboxes(w.adam, w.old, w.eve); err != nil {
		t.Fatal(err)
	}
	return x
}

// deliver delivers a message to mailboxes, and sends it if it is the first time.
func (x *taken) deliver(n int, send bool, boxes ...*source) (r *cyrus.Record) {
	x.t.Helper()
	for _, box := range boxes {
		r = box.deliver(mail(n, 1500))
	}
	if send {
		if err := x.c.upload(x.t.Context(), boxes[0], r); err != nil {
			x.t.Fatal(err)
		}
	}
	return r
}

func (x *taken) apply(m *source) error {
	return x.c.s.ApplyMailbox(x.t.Context(), m.head(), cyrus.Since{}, seq(m.records))
}

func (x *taken) mustApply(m *source) {
	x.t.Helper()
	if err := x.apply(m); err != nil {
		x.t.Fatal(err)
	}
}

// drop makes memory short, so that the stage drops what commits have taken.
func (x *taken) drop(from int) {
	for n := range 3 {
		x.deliver(from+n, true, x.eve)
	}
}

func plainClient(h *host) *client { return h.client() }

// A record of eve was found in the stage. Before it is in the commit, another message has to be copied from adam,
// for which there is no memory: the first one is not dropped.
func TestTakenMessageWithARecord(t *testing.T) {
	x := beginTaken(t, plainClient)
	x.deliver(1, true, x.adam, x.eve)
	x.mustApply(x.adam)
	x.drop(10) // message 1
	x.deliver(2, true, x.old, x.eve)
	x.mustApply(x.old)
	x.mustApply(x.eve) // looks up 1 and 2, and copies 1
	x.c.s.Close()
	x.check()
}

// RESERVE has reported that a message need not be sent, because the stage has it. Memory is short then, and the commit
// with the message disappears: eve has it nevertheless.
func TestTakenMessageThatRESERVEReported(t *testing.T) {
	x := beginTaken(t, plainClient)
	r := x.deliver(1, true, x.adam)
	x.mustApply(x.adam)
	missing, err := x.c.s.Reserve(t.Context(), "default", []string{x.adam.name, x.eve.name}, []cyrus.GUID{r.GUID})
	if err != nil || len(missing) != 0 {
		t.Fatalf("missing %v, %v", missing, err)
	}
	x.drop(10)
	x.deliver(1, false, x.eve)
	keys := x.store.Keys("backups/user/adam/log/")
	x.store.Lose(keys[len(keys)-1])
	x.mustApply(x.eve)
	x.c.s.Close()
	x.h.syncUntil("adam", x.adam, x.old)
	x.check()
}

// A dropped message cannot be copied. Eve is deferred for the whole unit of work, unless the client sends the message
// again: the message does not count as unreadable by the client, and no answer is OK.
func TestTakenMessageThatIsGone(t *testing.T) {
	gone := map[string]func(x *taken){
		"lost": func(x *taken) {
			keys := x.store.Keys("backups/user/adam/log/")
			x.store.Lose(keys[len(keys)-1])
		},
		"damaged": func(x *taken) {
			for _, key := range x.store.Keys("backups/user/adam/log/") {
				x.store.Flip(key, 300)
			}
		},
		"index made again": func(x *taken) {
			if err := x.h.set.Reindex(x.t.Context(), repository.UserName("adam")); err != nil {
				x.t.Fatal(err)
			}
		},
	}
	for name, lose := range gone {
		for _, unreadable := range []bool{false, true} {
			t.Run(fmt.Sprint(name, unreadable), func(t *testing.T) {
				x := beginTaken(t, plainClient)
				x.deliver(1, true, x.adam, x.eve)
				x.mustApply(x.adam)
				x.drop(10)
				if unreadable {
					if err := x.c.s.MessageUnreadable(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				lose(x)
				for range 2 {
					if err := x.apply(x.eve); !errors.Is(err, cyrus.ErrLocked) {
						t.Fatalf("%v, want ErrLocked", err)
					}
				}
				if err := x.c.upload(t.Context(), x.eve, x.eve.records[0]); err != nil {
					t.Fatal(err)
				}
				x.mustApply(x.eve)
				x.c.s.Close()
				x.h.syncUntil("adam", x.adam, x.old)
				x.check()
			})
		}
	}
}

// A login with a scope may refer to what it has sent, although the stage has dropped it.
func TestTakenMessageWithAScope(t *testing.T) {
	x := beginTaken(t, func(h *host) *client { return h.limited("adam", "eve") })
	x.deliver(1, true, x.adam, x.eve)
	x.mustApply(x.adam)
	x.drop(10)
	x.mustApply(x.eve)
	x.c.s.Close()
	x.check()
}

// A message that was dropped once, and was needed then, goes to a pack the next time: others refer to it there.
func TestTakenMessageOfManyUsers(t *testing.T) {
	x := beginTaken(t, plainClient)
	bob := newSource("user.bob")
	r := x.deliver(1, true, x.adam, x.eve, bob)
	x.mustApply(x.adam)
	x.drop(10)
	x.mustApply(x.eve) // copies it
	x.deliver(20, true, x.eve)
	x.deliver(21, true, x.eve)
	x.mustApply(bob)
	x.mustApply(x.eve)
	x.c.s.Close()
	x.check()
	x.h.expectSame("bob", bob)
	checkBucket(t, x.store, "user/bob", bob).Close()
	if n := x.copies(r.GUID); n != [3]int{1, 1, 1} {
		t.Errorf("the message is stored %d times", n)
	}
}
