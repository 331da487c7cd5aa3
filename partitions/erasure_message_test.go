package partitions_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// eraser erases messages of anne in a store.
type eraser struct {
	t    *testing.T
	c    *clocked
	part repository.Config
}

func (e *eraser) lock() repository.LockOptions {
	return repository.LockOptions{Owner: "test", Host: "test", Now: e.c.clock}
}

func (e *eraser) options() maintenance.ForgetOptions {
	return maintenance.ForgetOptions{RetainOptions: maintenance.RetainOptions{Policy: maintenance.Policy{LogMinAge: maintenance.MinLogAge}, Lock: e.lock()},
		Merge: maintenance.MergeOptions{PackSize: 8 << 20, Before: maintenance.LastDay(e.c.now, maintenance.MinLogAge)}}
}

func (e *eraser) erase(guids ...cyrus.GUID) {
	e.t.Helper()
	o := e.options()
	look, err := erasure.LookAtMessages(e.t.Context(), []repository.Config{e.part}, repository.UserName("anne"), guids, o.RetainOptions)
	if err != nil {
		e.t.Fatal(err)
	}
	if _, err := erasure.EraseMessages(e.t.Context(), look, erasure.HistoryOptions{By: "test", Reason: "test", Forget: o}); err != nil {
		e.t.Fatal(err)
	}
}

// finish does what compact does in the next night.
func (e *eraser) finish() {
	e.t.Helper()
	e.c.now = e.c.now.Add(erasure.HistoryGrace + time.Minute)
	due, err := erasure.Open(e.t.Context(), e.part)
	if err != nil || len(due) != 1 {
		e.t.Fatalf("%+v, %v", due, err)
	}
	if swept, err := erasure.SweepHistory(e.t.Context(), e.part, due[0], e.options()); err != nil || !swept.Complete() {
		e.t.Fatal(swept, err)
	}
	res, err := collection.Collect(e.t.Context(), e.part, collection.Options{Lock: e.lock(), Erase: erasure.Packs(e.t.Context(), e.part, due)})
	if err != nil || res.Blocking > 0 || res.Erasing > 0 {
		e.t.Fatalf("%+v, %v", res, err)
	}
	if settled, err := erasure.Settle(e.t.Context(), e.part, due, res, e.lock()); err != nil || settled[0].State != repository.ErasureDone {
		e.t.Fatalf("%+v, %v", settled, err)
	}
}

// Beside a daemon that goes on, messages are erased: small, packed and large ones, and a message that another user has, too.
// The needle is nowhere then, and the source sends nothing again. A daemon whose index is older, or new, stores an erased
// message that arrives again.
func TestEraseMessageNeedle(t *testing.T) {
	for _, index := range []string{"old", "new"} {
		t.Run(index, func(t *testing.T) {
			c := &clocked{now: time.Now()}
			s := memstore.NewVersioned(c.clock)
			set := func(o *partitions.Options) { o.Now, o.InlineLimit = c.clock, 4<<10 }
			h := newHostWith(t, set, s)
			anne, bob := newSource("user.anne"), newSource("user.bob")
			shared, again := mail(50, 6000), needled(mail(2, 6000), 200)
			small := anne.deliver(needled(mail(1, 500), 200))
			h.sync("anne", anne) // inline
			packed := anne.deliver(again)
			large := anne.deliver(needled(noise(6, 3<<20), 1<<20))
			both := anne.deliver(shared)
			h.sync("anne", anne)
			bob.deliver(shared)
			bob.deliver(mail(51, 500))
			h.sync("bob", bob)
			checkpoint(t, s)
			for _, r := range []*cyrus.Record{small, packed, large, both} {
				anne.flag(r, `\Expunged`)
			}
			h.sync("anne", anne)
			for range 5 {
				c.now = c.now.Add(25 * time.Hour)
				anne.deliver(mail(60+len(anne.records), 700))
				h.sync("anne", anne)
			}
			checkpoint(t, s)
			if in := needlesIn(s); !strings.Contains(strings.Join(in, " "), "packs/") || !strings.Contains(strings.Join(in, " "), "/log/") {
				t.Fatalf("the needle is in %q: this test no longer covers its case", in)
			}
			e := &eraser{t, c, repository.Config{Name: "p0", Location: "memory", Store: s}}
			e.erase(small.GUID, packed.GUID, large.GUID, both.GUID)
			h.expectSame("anne", anne)
			anne.deliver(mail(90, 700))
			h.sync("anne", anne)
			e.finish()
			if in := needlesIn(s); len(in) > 0 {
				t.Errorf("the needle is in %q", in)
			}
			if index == "new" {
				checkpoint(t, s)
				h = newHostWith(t, set, s)
			}
			h.expectSame("bob", bob)
			checkBucket(t, s, "user/bob", bob).Close()
			before := len(s.Keys("backups/user/anne/log/"))
			h.sync("anne", anne)
			if after := len(s.Keys("backups/user/anne/log/")); after != before {
				t.Errorf("a sync without changes has put %d commits", after-before)
			}
			anne.deliver(again)
			anne.deliver(shared)
			h.sync("anne", anne)
			h.expectSame("anne", anne)
			for _, g := range []cyrus.GUID{packed.GUID, both.GUID} {
				e.readable(g, true)
			}
			for _, g := range []cyrus.GUID{small.GUID, large.GUID} {
				e.readable(g, false)
			}
			noDamage(t, s)
		})
	}
}

// readable checks whether the newest state has a message, or reports it as erased.
func (e *eraser) readable(g cyrus.GUID, want bool) {
	e.t.Helper()
	m, err := history.Load(e.t.Context(), e.part.Store, "user/anne", history.Moment{})
	if err != nil {
		e.t.Fatal(err)
	}
	defer m.Close()
	st, err := m.Message(g)
	if err != nil || st == nil {
		e.t.Fatal(st, err)
	}
	r, err := history.OpenMessage(e.t.Context(), history.NewObjects(e.part.Store, 0), st, m.Places)
	if err == nil {
		_ = r.Close()
	}
	if want != (err == nil) || !want && !errors.As(err, new(*history.ErasedError)) {
		e.t.Errorf("message %s: %v", fmt.Sprint(g), err)
	}
}

// A client has learned that the backup has a message, and copies it, while it is erased. The change is refused, and the
// client sends the message when it tries again.
func TestEraseMessageBesideCopy(t *testing.T) {
	for name, limit := range map[string]int64{"in packs": 1, "in commits": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			c := &clocked{now: time.Now()}
			s := memstore.New(c.clock)
			h := newHostWith(t, func(o *partitions.Options) { o.Now, o.InlineLimit = c.clock, limit }, s)
			besideCopy(t, c, s, h)
			if n := h.set.LossCount("p0"); n != 0 {
				t.Errorf("the daemon has found %d losses", n)
			}
		})
	}
}

func besideCopy(t *testing.T, c *clocked, s *memstore.Store, h *host) {
	t.Helper()
	anne := newSource("user.anne")
	r := anne.deliver(mail(2, 6000))
	anne.deliver(mail(3, 6000))
	h.sync("anne", anne)
	anne.flag(r, `\Expunged`)
	h.sync("anne", anne)
	c.now = c.now.Add(5 * 24 * time.Hour)
	anne.deliver(mail(4, 6000))
	h.sync("anne", anne)
	cl := h.client()
	there, err := cl.getMailboxes(anne)
	if err != nil {
		t.Fatal(err)
	}
	anne.deliver(mail(2, 6000))
	missing, err := cl.reserve(t.Context(), there, []*source{anne})
	if err != nil || missing[r.GUID] {
		t.Fatalf("%v, %v", missing, err)
	}
	e := &eraser{t, c, repository.Config{Name: "p0", Location: "memory", Store: s}}
	e.erase(r.GUID)
	if _, err := cl.update(t.Context(), anne, there, missing, map[cyrus.GUID]bool{}); !errors.Is(err, cyrus.ErrLocked) {
		t.Errorf("the copy: %v", err)
	}
	cl.s.Close()
	h.sync("anne", anne)
	h.expectSame("anne", anne)
	e.readable(r.GUID, true)
	e.finish()
	e.readable(r.GUID, true)
	noDamage(t, s)
}

// The commit with the event is lost, and a daemon builds its index from the rest of the log. It knows the erased message, but
// the log has no place of it. When the message arrives again, the client is deferred, and then sends it.
func TestEraseMessageEventLost(t *testing.T) {
	for name, limit := range map[string]int64{"in packs": 1, "in commits": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			c := &clocked{now: time.Now()}
			s := memstore.New(c.clock)
			set := func(o *partitions.Options) { o.Now, o.InlineLimit = c.clock, limit }
			h := newHostWith(t, set, s)
			anne := newSource("user.anne")
			r := anne.deliver(mail(2, 6000))
			anne.deliver(mail(3, 6000))
			h.sync("anne", anne)
			anne.flag(r, `\Expunged`)
			h.sync("anne", anne)
			c.now = c.now.Add(5 * 24 * time.Hour)
			anne.deliver(mail(4, 6000))
			h.sync("anne", anne)
			e := &eraser{t, c, repository.Config{Name: "p0", Location: "memory", Store: s}}
			e.erase(r.GUID)
			event, err := (&history.Log{Store: s, Backup: "user/anne"}).Newest(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			e.finish()
			anne.deliver(mail(5, 6000))
			h.sync("anne", anne)
			s.Lose(history.LogKey("user/anne", event))
			h = newHostWith(t, set, s)
			h.sync("anne", anne) // the bridge
			e.onlyLost(1)
			copies := newSource("user.anne.Copies")
			copies.deliver(mail(2, 6000))
			for range 3 {
				cl := h.client()
				if _, err = cl.sync("anne", anne, copies); err != nil && !errors.Is(err, cyrus.ErrLocked) {
					t.Fatal(err)
				}
				cl.s.Close()
			}
			if err != nil {
				t.Fatalf("it is deferred for ever: %v", err)
			}
			h.expectSame("anne", anne, copies)
			e.readable(r.GUID, true)
			e.onlyLost(0)
		})
	}
}

// onlyLost checks that verify reads all bodies of anne, and reports nothing but the lost commit. The log does not show any more
// that a number of messages were erased, but their places do.
func (e *eraser) onlyLost(erased int) {
	e.t.Helper()
	f, err := repository.FindPath(e.t.Context(), e.part, "user/anne")
	if err != nil {
		e.t.Fatal(err)
	}
	done, err := verify.Run(e.t.Context(), f, verify.Options{Report: func(p verify.Problem) {
		if !strings.Contains(p.Text, "known to be lost") {
			e.t.Errorf("verify: %s", p)
		}
	}})
	if err != nil || done.Erased != erased || done.Messages < 4 {
		e.t.Errorf("verify: %+v, %v", done, err)
	}
}

// A client has learned that the backup has a message, and copies it. Before that, another change of the connection meets the
// event about its erasure, and is deferred. The copy is refused, too: an OK would be about a message without a body.
func TestEraseMessageBeforeCopy(t *testing.T) {
	for _, into := range []string{"an old folder", "a new folder"} {
		t.Run(into, func(t *testing.T) { beforeCopy(t, into == "a new folder") })
	}
}

func beforeCopy(t *testing.T, fresh bool) {
	t.Helper()
	c := &clocked{now: time.Now()}
	s := memstore.New(c.clock)
	h := newHostWith(t, func(o *partitions.Options) { o.Now = c.clock }, s)
	anne := newSource("user.anne")
	r := anne.deliver(mail(2, 6000))
	anne.deliver(mail(3, 6000))
	h.sync("anne", anne)
	anne.flag(r, `\Expunged`)
	h.sync("anne", anne)
	c.now = c.now.Add(5 * 24 * time.Hour)
	other := newSource("user.anne.Other")
	other.deliver(mail(4, 6000))
	h.sync("anne", anne, other)
	cl := h.client()
	to := anne
	if fresh {
		to = newSource("user.anne.New")
	}
	there, err := cl.getMailboxes(anne, other, to)
	if err != nil {
		t.Fatal(err)
	}
	to.deliver(mail(2, 6000))
	other.deliver(mail(3, 6000)) // a copy
	missing, err := cl.reserve(t.Context(), there, []*source{to, other})
	if err != nil || missing[r.GUID] {
		t.Fatalf("%v, %v", missing, err)
	}
	e := &eraser{t, c, repository.Config{Name: "p0", Location: "memory", Store: s}}
	e.erase(r.GUID)
	if _, err := cl.update(t.Context(), other, there, missing, map[cyrus.GUID]bool{}); !errors.Is(err, cyrus.ErrLocked) {
		t.Errorf("the other change: %v", err)
	}
	if _, err := cl.update(t.Context(), to, there, missing, map[cyrus.GUID]bool{}); !errors.Is(err, cyrus.ErrLocked) {
		t.Errorf("the copy: %v", err)
	}
	cl.s.Close()
	boxes := []*source{anne, other}
	if fresh {
		boxes = append(boxes, to)
	}
	h.sync("anne", boxes...)
	h.expectSame("anne", boxes...)
	e.readable(r.GUID, true)
}

// The commit with the event is lost, and a daemon builds its index from the rest of the log, where the message has no place. Another
// partition has a copy. When the daemon heals the backup, it takes the copy only if the user has the message: what was
// erased does not come back.
func TestEraseMessageHealing(t *testing.T) {
	for _, live := range []bool{false, true} {
		c := &clocked{now: time.Now()}
		stores := []*memstore.Store{memstore.New(c.clock), memstore.New(c.clock)}
		h := newHostWith(t, func(o *partitions.Options) { o.Now, o.InlineLimit = c.clock, 1 }, stores[0], stores[1])
		users := usersOf(t, h, stores)
		anne := newSource("user.anne")
		r := anne.deliver(mail(2, 6000))
		anne.deliver(mail(3, 6000))
		h.sync("anne", anne)
		home := 0
		if hasBackup(t, stores[1], "user/anne") {
			home = 1
		}
		other := newSource("user." + users[1-home])
		other.deliver(mail(2, 6000))
		h.sync(users[1-home], other)
		anne.flag(r, `\Expunged`)
		h.sync("anne", anne)
		c.now = c.now.Add(5 * 24 * time.Hour)
		anne.deliver(mail(4, 6000))
		h.sync("anne", anne)
		name, s := fmt.Sprintf("p%d", home), stores[home]
		e := &eraser{t, c, repository.Config{Name: name, Location: "memory", Store: s}}
		e.erase(r.GUID)
		e.finish()
		h.stop()
		event, err := (&history.Log{Store: s, Backup: "user/anne"}).Newest(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		s.Lose(history.LogKey("user/anne", event))
		if live {
			e.record(anne, anne.deliver(mail(2, 6000)))
		}
		h.start()
		h.removeIndex()
		h.sync(users[1-home], other)
		if err := h.set.NoteLoss(name, "another object"); err != nil {
			t.Fatal(err)
		}
		for _, g := range h.syncUntil("anne", anne) {
			if g == r.GUID {
				t.Error("the client had to send it")
			}
		}
		h.expectSame("anne", anne)
		e.readable(r.GUID, live)
	}
}

// record commits a live record of a message, without its body.
func (e *eraser) record(box *source, r *cyrus.Record) {
	e.t.Helper()
	f, err := repository.FindPath(e.t.Context(), e.part, "user/anne")
	if err != nil {
		e.t.Fatal(err)
	}
	tip, _, err := f.Tip(e.t.Context(), 0)
	if err != nil {
		e.t.Fatal(err)
	}
	o := e.lock()
	won, err := f.PutCommit(e.t.Context(), o.Header(f, tip, e.c.now), &history.RecordsEvent{UniqueID: box.uniqueid, Records: []*cyrus.Record{r}})
	if err != nil || !won {
		e.t.Fatal(won, err)
	}
}
