package partitions_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
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
	x.deliver(3, true, x.eve)
	x.mustApply(x.eve) // looks up 1, 2 and 3, and copies 1
	x.c.s.Close()
	x.check()
}

// RESERVE has reported that a message need not be sent, because the stage has it, before or after the commit of adam.
// Memory is short then, and the commit with the message disappears: eve has it nevertheless.
func TestTakenMessageThatRESERVEReported(t *testing.T) {
	for _, before := range []bool{false, true} {
		x := beginTaken(t, plainClient)
		r := x.deliver(1, true, x.adam)
		if !before {
			x.mustApply(x.adam)
		}
		missing, err := x.c.s.Reserve(t.Context(), "default", []string{x.adam.name, x.eve.name}, []cyrus.GUID{r.GUID})
		if err != nil || len(missing) != 0 {
			t.Fatalf("missing %v, %v", missing, err)
		}
		if before {
			x.mustApply(x.adam)
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
}

// Eve has deleted the message, and her mail server has not cleaned it up yet. Her backup has it nevertheless.
func TestTakenMessageThatIsExpunged(t *testing.T) {
	x := beginTaken(t, plainClient)
	r := x.deliver(1, true, x.adam, x.eve)
	x.eve.flag(x.eve.records[0], `\Expunged`)
	x.mustApply(x.adam)
	x.drop(10)
	x.mustApply(x.eve)
	x.c.s.Close()
	m := load(t, x.store, "user/eve")
	defer m.Close()
	checkBody(t, m, history.NewObjects(x.store, 0), r.GUID, x.eve.bodies[r.GUID])
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
		"set aside": func(x *taken) {
			list, err := repository.Remains(x.t.Context(), x.h.set.Configs(), repository.UserName("adam"))
			if err == nil {
				_, err = setAside(x.t, list[0])
			}
			if err != nil {
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
					if err := x.apply(x.eve); !errors.Is(err, cyrus.ErrLocked) || errors.Is(err, cyrus.ErrUnavailable) {
						t.Fatalf("%v, want ErrLocked", err)
					}
				}
				if n := x.h.set.LossCount("p0"); n != 0 {
					t.Errorf("the command of eve has found %d losses in the backup of adam", n)
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

// Dropped messages make room for others: they do not go to a pack.
func TestTakenMessageMakesRoom(t *testing.T) {
	x := beginTaken(t, plainClient)
	x.deliver(1, true, x.adam)
	x.mustApply(x.adam)
	r := x.deliver(10, true, x.eve)
	x.deliver(11, true, x.eve)
	x.mustApply(x.eve)
	x.c.s.Close()
	x.check()
	if n := x.copies(r.GUID); n != [3]int{0, 1, 0} {
		t.Errorf("a message of eve is stored %d times", n)
	}
}

// A pack with the same message was condemned and deleted. Eve gets the message from the commit of adam.
func TestTakenMessageInACondemnedPack(t *testing.T) {
	clock := &hostClock{at: time.Now()}
	x := beginTaken(t, plainClient, func(o *partitions.Options) { o.Now = clock.now })
	bob := newSource("user.bob")
	for n := range 4 {
		bob.deliver(mail(1+100*n, 1500))
	}
	x.h.sync("bob", bob)
	dead := packsOf(t, x.store)
	if len(dead) == 0 {
		t.Fatal("no pack was put: this test no longer covers its case")
	}
	condemn(t, x.store, clock.now(), dead)
	for _, key := range dead {
		x.store.Lose(key)
	}
	clock.pass(11 * time.Minute) // the host reads the list again
	x.deliver(1, true, x.adam, x.eve)
	x.mustApply(x.adam)
	x.drop(10)
	x.mustApply(x.eve)
	x.c.s.Close()
	x.check()
	if n := x.h.set.LossCount("p0"); n != 0 {
		t.Errorf("%d losses were found in a pack that was deleted on purpose", n)
	}
}

// A unit of work drops a limited number of messages. Others go to a pack.
func TestTakenMessagesAreBounded(t *testing.T) {
	const most, more = 128, 5
	x := beginTaken(t, plainClient, func(o *partitions.Options) { o.InlineLimit = 64 << 10 })
	for n := range most + more {
		r := x.adam.deliver(mail(n, 300))
		x.eve.deliver(mail(n, 300))
		if err := x.c.upload(t.Context(), x.adam, r); err != nil {
			t.Fatal(err)
		}
	}
	x.mustApply(x.adam)
	large := x.eve.deliver(mail(1000, 64<<10))
	if err := x.c.upload(t.Context(), x.eve, large); err != nil {
		t.Fatal(err)
	}
	x.mustApply(x.eve)
	x.c.s.Close()
	x.check()
	packed := 0
	for _, r := range x.adam.records {
		packed += x.copies(r.GUID)[2]
	}
	if packed != more {
		t.Errorf("%d messages of adam are in packs, want %d", packed, more)
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
	x.mustApply(x.eve)
	x.mustApply(bob)
	x.c.s.Close()
	x.check()
	x.h.expectSame("bob", bob)
	checkBucket(t, x.store, "user/bob", bob).Close()
	if n := x.copies(r.GUID); n != [3]int{1, 1, 1} {
		t.Errorf("the message is stored %d times", n)
	}
}
