package partitions_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A user deletes messages with a needle: small, packed and large ones. After an erasure of the history,
// beside a daemon that goes on, the needle is in no object and no former version. Another user keeps a
// message that both had. The source sends nothing again, and a message that arrives again is stored.
func TestEraseHistoryNeedle(t *testing.T) {
	c := &clocked{now: time.Now()}
	s := memstore.NewVersioned(c.clock)
	h := newHostWith(t, func(o *partitions.Options) { o.Now, o.InlineLimit = c.clock, 4<<10 }, s)
	anne, bob := newSource("user.anne"), newSource("user.bob")
	shared, again := mail(50, 6000), needled(mail(2, 6000), 200)
	anne.deliver(needled(mail(1, 500), 200))
	h.sync("anne", anne) // inline
	anne.deliver(again)
	anne.deliver(needled(noise(6, 3<<20), 1<<20))
	anne.deliver(shared)
	h.sync("anne", anne)
	bob.deliver(shared)
	bob.deliver(mail(51, 500))
	h.sync("bob", bob)
	checkpoint(t, s)
	step := func(days int) {
		for range days {
			c.now = c.now.Add(25 * time.Hour)
			anne.deliver(mail(60+len(anne.records), 700))
			h.sync("anne", anne)
		}
	}
	step(2)
	for _, r := range anne.records[:4] {
		anne.flag(r, `\Expunged`)
	}
	h.sync("anne", anne)
	step(2)
	checkpoint(t, s)
	step(6)
	if in := needlesIn(s); !strings.Contains(strings.Join(in, " "), "packs/") || !strings.Contains(strings.Join(in, " "), "/log/") {
		t.Fatalf("the needle is in %q: this test no longer covers its case", in)
	}
	h.eraseHistory(c, s, func() {
		h.expectSame("anne", anne)
		step(1)
	})
	if in := needlesIn(s); len(in) > 0 {
		t.Errorf("the needle is in %q", in)
	}
	h.expectSame("bob", bob)
	checkBucket(t, s, "user/bob", bob).Close()
	before := len(s.Keys("backups/user/anne/log/"))
	h.sync("anne", anne)
	if after := len(s.Keys("backups/user/anne/log/")); after != before {
		t.Errorf("a sync without changes has put %d commits", after-before)
	}
	anne.deliver(again)
	h.sync("anne", anne)
	h.expectSame("anne", anne)
	checkBodies(t, s, "user/anne")
	if in := needlesIn(s); len(in) == 0 {
		t.Error("a message that has arrived again was not stored")
	}
	noDamage(t, s)
}

// eraseHistory erases anne's history, calls before, and completes the erasure half a day later.
func (h *host) eraseHistory(c *clocked, s *memstore.Store, before func()) {
	t := h.t
	t.Helper()
	part, lock := repository.Config{Name: "p0", Location: "memory", Store: s}, repository.LockOptions{Owner: "test", Host: "test", Now: c.clock}
	options := func() maintenance.ForgetOptions {
		last := maintenance.LastDay(c.now, maintenance.MinLogAge)
		return maintenance.ForgetOptions{RetainOptions: maintenance.RetainOptions{Policy: maintenance.Policy{LogMinAge: maintenance.MinLogAge}, Lock: lock},
			Merge: maintenance.MergeOptions{PackSize: 8 << 20, Before: last}, Until: last}
	}
	o := options()
	look, err := erasure.LookAtHistory(t.Context(), []repository.Config{part}, repository.UserName("anne"), o.Until, c.clock)
	if err != nil || look.Messages != 4 {
		t.Fatalf("%+v, %v", look, err)
	}
	if _, err := erasure.EraseHistory(t.Context(), look, erasure.HistoryOptions{By: "test", Reason: "test", Forget: o}); err != nil {
		t.Fatal(err)
	}
	before()
	c.now = c.now.Add(erasure.HistoryGrace)
	due, err := erasure.Open(t.Context(), part)
	if err != nil || len(due) != 1 {
		t.Fatalf("%+v, %v", due, err)
	}
	if swept, err := erasure.SweepHistory(t.Context(), part, due[0], options()); err != nil || !swept.Complete() {
		t.Fatal(swept, err)
	}
	res, err := collection.Collect(t.Context(), part, collection.Options{Lock: lock, Erase: erasure.Packs(t.Context(), part, due)})
	if err != nil || res.Blocking > 0 || res.Erasing > 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	if settled, err := erasure.Settle(t.Context(), part, due, res, lock); err != nil || settled[0].State != repository.ErasureDone {
		t.Fatalf("%+v, %v", settled, err)
	}
}
