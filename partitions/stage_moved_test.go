package partitions_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
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

// The index of adam is made again before eve is sent. Eve is deferred while it is incomplete, and nobody sends the
// message again.
func TestTakenMessageWhileReindexing(t *testing.T) {
	x := beginTaken(t, plainClient)
	x.deliver(1, true, x.adam, x.eve)
	x.mustApply(x.adam)
	x.drop(10)
	begun, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var armed atomic.Bool
	armed.Store(true)
	x.store.SetFaults(func(op, key string) error {
		if op == "get" && strings.HasPrefix(key, history.LogPrefix("user/adam")) && armed.CompareAndSwap(true, false) {
			close(begun)
			<-goOn
		}
		return nil
	}, nil)
	go func() { done <- x.h.set.Reindex(context.Background(), repository.UserName("adam")) }()
	<-begun
	for range 2 {
		err := x.apply(x.eve)
		if !errors.Is(err, cyrus.ErrLocked) || !strings.Contains(err.Error(), "of user/adam") || !strings.Contains(err.Error(), "index is being made") {
			t.Errorf("%v, want ErrLocked, and why", err)
		}
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	x.store.SetFaults(nil, nil)
	x.mustApply(x.eve)
	x.c.s.Close()
	x.check()
}

// The client goes on to eve alone, so another one works on adam meanwhile.
func TestTakenMessageOfAUserBefore(t *testing.T) {
	x := beginTaken(t, plainClient)
	r := x.deliver(1, true, x.adam, x.eve)
	x.mustApply(x.adam)
	x.drop(10)
	if _, err := x.c.getMailboxes(x.eve); err != nil {
		t.Fatal(err)
	}
	x.adam.flag(x.adam.records[0], `\Expunged`)
	x.h.sync("adam", x.adam, x.old)
	x.mustApply(x.eve)
	x.c.s.Close()
	x.h.expectSame("eve", x.eve)
	if n := x.copies(r.GUID); n[0] != 1 || n[1]+n[2] != 1 {
		t.Errorf("the message is stored %d times", n)
	}
	checkBucket(t, x.store, "user/eve", x.eve).Close()
}

// The backup that names the message is in another partition than the backup that has taken it.
func TestTakenMessageOfAnotherPartition(t *testing.T) {
	for _, private := range []bool{false, true} {
		stores := []*memstore.Store{newStore(), newStore()}
		h := newHostWith(t, func(o *partitions.Options) { o.InlineLimit, o.DedupPerBackup = 4<<10, private }, stores[0], stores[1])
		var user [2]string // by partition
		for i := 0; user[0] == "" || user[1] == ""; i++ {
			name := fmt.Sprint("u", i)
			p, err := h.set.Choose(t.Context(), repository.UserName(name))
			if err != nil {
				t.Fatal(err)
			}
			user[strings.Index("p0 p1", p.Config().Name)/3] = name
		}
		x := &taken{&several{t: t, store: stores[0], h: h, adam: newSource("user." + user[0]), eve: newSource("user." + user[1])}, h.client()}
		if _, err := x.c.getMailboxes(x.adam, x.eve); err != nil {
			t.Fatal(err)
		}
		r := x.deliver(1, true, x.adam, x.eve)
		x.mustApply(x.adam)
		x.drop(10)
		x.mustApply(x.eve)
		x.c.s.Close()
		h.expectSame(user[1], x.eve)
		if n := x.copies(r.GUID); n[2] != 0 {
			t.Error("the message was not dropped: this test no longer covers its case")
		}
		checkBucket(t, stores[0], "user/"+user[0], x.adam).Close()
		checkBucket(t, stores[1], "user/"+user[1], x.eve).Close()
	}
}

// Small messages of a commit are copied with few requests, because many are in a frame.
func TestTakenMessagesTakeFewRequests(t *testing.T) {
	const messages = 100
	x := beginTaken(t, plainClient, func(o *partitions.Options) { o.InlineLimit = 1 << 20 })
	for n := range messages {
		body := noise(uint64(n), 1500)
		r := x.adam.deliver(body)
		x.eve.deliver(body)
		if err := x.c.upload(t.Context(), x.adam, r); err != nil {
			t.Fatal(err)
		}
	}
	x.mustApply(x.adam)
	large := x.eve.deliver(noise(1000, 1<<20))
	if err := x.c.upload(t.Context(), x.eve, large); err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int64
	x.store.SetFaults(func(op, key string) error {
		if op == "get" && strings.HasPrefix(key, history.LogPrefix("user/adam")) {
			requests.Add(1)
		}
		return nil
	}, nil)
	x.mustApply(x.eve)
	x.store.SetFaults(nil, nil)
	x.c.s.Close()
	x.check()
	if requests.Load() == 0 || requests.Load() > 4 {
		t.Errorf("%d requests for %d messages", requests.Load(), messages)
	}
}
