package partitions_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// nightly is what ctl_backups compact -A does in a night: merge, retention, collection.
func nightly(t *testing.T, c *clocked, s *memstore.Store, cache string) *collection.Result {
	t.Helper()
	lock := repository.LockOptions{Owner: "test", Host: "test", Now: c.clock}
	part := repository.Config{Name: "p0", Location: "memory", Store: s}
	merger := maintenance.NewMerger(part, maintenance.MergeOptions{PackSize: 8 << 20, Before: maintenance.LastDay(c.now, maintenance.MinLogAge)})
	policy := maintenance.Policy{Keep: 3 * 24 * time.Hour, LogMinAge: maintenance.MinLogAge, DeletedPrefix: "DELETED"}
	for f, err := range repository.Browse(t.Context(), part) {
		if err != nil {
			t.Fatal(err)
		}
		u, err := repository.BeginUpkeep(t.Context(), f, lock)
		if err != nil {
			t.Fatal(err)
		}
		job := merger.Add(t.Context(), f, u)
		err = errors.Join(merger.Flush(t.Context()), job.Err)
		if err == nil {
			_, err = maintenance.Retain(t.Context(), f, u, maintenance.RetainOptions{Policy: policy, Lock: lock})
		}
		if err = errors.Join(err, u.End(context.WithoutCancel(t.Context()))); err != nil {
			t.Fatal(err)
		}
	}
	r, err := collection.Collect(t.Context(), part, collection.Options{Lock: lock, Cache: cache})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range r.Blocked {
		t.Errorf("blocked: %v", b)
	}
	return r
}

// A daemon serves clients while old mail is merged, forgotten and collected every night. Packs
// that one user needs stay, others go, and a message whose pack is gone can be sent again.
func TestDaemonBesideCollection(t *testing.T) {
	c := &clocked{now: time.Now()}
	s := memstore.New(c.clock)
	h := newHostWith(t, func(o *partitions.Options) { o.Now = c.clock }, s)
	anne, bert, cache := newSource("user.anne"), newSource("user.bert"), t.TempDir()
	shared, own := noise(3, 3<<20), noise(4, 9<<20)
	packs := map[bool][]string{} // whether bert needs them
	for _, body := range [][]byte{shared, own} {
		anne.deliver(body)
		h.sync("anne", anne)
		for _, key := range packsOf(t, s) {
			if !slices.Contains(packs[true], key) {
				packs[len(packs[true]) == 0] = append(packs[len(packs[true]) == 0], key)
			}
		}
	}
	if len(packs[true]) == 0 || len(packs[false]) == 0 {
		t.Fatalf("packs %v: this test no longer covers its case", packs)
	}
	h.sync("bert", bert)
	bert.deliver(shared)
	h.sync("bert", bert)
	anne.flag(anne.records[0], `\Expunged`)
	anne.flag(anne.records[1], `\Expunged`)
	h.sync("anne", anne)
	for day := range 20 {
		c.now = c.now.Add(25 * time.Hour)
		anne.deliver(mail(day, 3000))
		bert.deliver(mail(day, 3000))
		h.sync("anne", anne)
		h.sync("bert", bert)
		nightly(t, c, s, cache)
		h.expectSame("anne", anne)
		h.expectSame("bert", bert)
	}
	for needed, keys := range packs {
		for _, key := range keys {
			if there := s.Bytes(key) != nil; there != needed {
				t.Errorf("%s: needed %v, there %v", key, needed, there)
			}
		}
	}
	checkBucket(t, s, "user/bert", bert).Close()
	noDamage(t, s)
	bert.deliver(own) // the index still knows its pack
	w := &lateWorld{t: t, mem: s, h: h, bert: bert}
	if locked := w.untilSame(); locked > 1 {
		t.Errorf("LOCKED %d times", locked)
	}
	fresh := newHostWith(t, func(o *partitions.Options) { o.Now = c.clock }, s)
	fresh.expectSame("anne", anne)
	fresh.expectSame("bert", bert)
}

// A pack of two messages is rewritten without the one that no backup needs any more. The index of a
// daemon still knows it, and asks for it when it is delivered again.
func TestDaemonBesideRewrite(t *testing.T) {
	c := &clocked{now: time.Now()}
	s := memstore.New(c.clock)
	var log bytes.Buffer
	h := newHostWith(t, func(o *partitions.Options) {
		o.Now, o.Logger = c.clock, slog.New(slog.NewTextHandler(&log, nil))
	}, s)
	anne, bert, cache := newSource("user.anne"), newSource("user.bert"), t.TempDir()
	shared, own := noise(3, 2<<20), noise(4, 2<<20)
	anne.deliver(shared)
	anne.deliver(own)
	h.sync("anne", anne)
	packs := packsOf(t, s)
	if len(packs) != 1 {
		t.Fatalf("packs %v: this test no longer covers its case", packs)
	}
	bert.deliver(shared)
	h.sync("bert", bert)
	anne.flag(anne.records[0], `\Expunged`)
	anne.flag(anne.records[1], `\Expunged`)
	h.sync("anne", anne)
	for range 12 { // also until the blocks of removed checkpoints are gone
		c.now = c.now.Add(25 * time.Hour)
		anne.deliver(mail(1, 3000))
		h.sync("anne", anne)
		nightly(t, c, s, cache)
	}
	condemnAll(t, c, s, packs)
	rewritten := 0
	for day := range 3 {
		c.now = c.now.Add(25 * time.Hour)
		bert.deliver(mail(day, 3000))
		h.sync("bert", bert)
		rewritten += nightly(t, c, s, cache).Rewritten.Packs
		h.expectSame("bert", bert)
		checkBucket(t, s, "user/bert", bert).Close()
	}
	if list, _, err := history.ReadCondemned(t.Context(), s); err != nil || list.Has(packs[0]) || rewritten != 1 || s.Bytes(packs[0]) != nil {
		t.Fatalf("%d packs were rewritten: %v", rewritten, err)
	}
	anne.deliver(shared)
	bert.deliver(own)
	h.sync("anne", anne)
	w := &lateWorld{t: t, mem: s, h: h, bert: bert}
	if locked := w.untilSame(); locked > 1 {
		t.Errorf("LOCKED %d times", locked)
	}
	if n := len(s.Keys("packs/")); n < 2 {
		t.Errorf("%d packs, after the message was sent again", n)
	}
	if !strings.Contains(log.String(), "the index knew messages that were removed because no backup needed them") {
		t.Errorf("the message counts as lost, so that every backup is searched for it:\n%s", &log)
	}
	checkBucket(t, s, "user/bert", bert).Close()
	noDamage(t, s)
	fresh := newHostWith(t, func(o *partitions.Options) { o.Now = c.clock }, s)
	fresh.expectSame("anne", anne)
	fresh.expectSame("bert", bert)
}

// condemnAll puts packs on the list.
func condemnAll(t *testing.T, c *clocked, s *memstore.Store, keys []string) {
	t.Helper()
	part := repository.Config{Name: "p0", Location: "memory", Store: s}
	u, err := repository.BeginCollection(t.Context(), part, repository.LockOptions{Owner: "test", Host: "test", Now: c.clock})
	if err != nil {
		t.Fatal(err)
	}
	err = collection.Condemn(t.Context(), part, u, func(yield func(collection.Pack, error) bool) {
		for _, key := range keys {
			var p collection.Pack
			if err := p.UnmarshalText([]byte(key[len("packs/ab/"):][:64])); !yield(p, err) {
				return
			}
		}
	})
	if err := errors.Join(err, u.End(t.Context())); err != nil {
		t.Fatal(err)
	}
}
