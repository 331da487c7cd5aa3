package partitions_test

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const needle = "NEEDLE-9f27"

// needled puts the needle into a message.
func needled(body []byte, at int) []byte {
	copy(body[at:], needle)
	return body
}

// needlesIn returns the keys of objects and former versions that have the needle.
func needlesIn(s *memstore.Store) (keys []string) {
	for key, b := range s.All() {
		d, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1))
		var plain []byte
		if err == nil {
			plain, _ = io.ReadAll(d) // up to the first byte that is not compressed
			d.Close()
		}
		if strings.Contains(key, needle) || bytes.Contains(b, []byte(needle)) || bytes.Contains(plain, []byte(needle)) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// A daemon has stored a needle in small, packed and large messages, a folder, a script and
// annotations, and old mail was merged and forgotten. After an erasure and its grace the needle is in
// no object and no former version. Another user keeps the messages that both have.
func TestEraseNeedle(t *testing.T) {
	c := &clocked{now: time.Now()}
	s := memstore.NewVersioned(c.clock)
	h := newHostWith(t, func(o *partitions.Options) { o.Now, o.InlineLimit = c.clock, 4<<10 }, s)
	anne, folder, bob := newSource("user.anne"), newSource("user.anne."+needle), newSource("user.bob")
	shared, large := mail(50, 6000), needled(noise(6, 3<<20), 1<<20)
	anne.deliver(needled(mail(1, 500), 200))
	r := anne.deliver(needled(mail(2, 6000), 200))
	r.Annotations = append(r.Annotations, cyrus.Annotation{Entry: "/comment", UserID: "anne", ModSeq: 2, Value: ptr(needle)})
	anne.deliver(shared)
	h.sync("anne", anne, folder)
	checkpoint(t, s)
	anne.deliver(large)
	h.sync("anne", anne, folder)
	bob.deliver(shared)
	bob.deliver(mail(51, 500))
	h.sync("bob", bob)
	cl := h.client()
	for _, err := range []error{
		cl.s.ApplySieve(t.Context(), cyrus.Sieve{UserID: "anne", Filename: "main.script", LastUpdate: 1700000000, Content: "# " + needle}),
		cl.s.ApplyAnnotation(t.Context(), cyrus.MailboxAnnotation{Mailbox: "user.anne", Entry: "/comment", UserID: "anne", Value: ptr(needle)}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	anne.flag(anne.records[0], `\Expunged`)
	for day := range 8 {
		c.now = c.now.Add(25 * time.Hour)
		anne.deliver(needled(mail(60+day, 700), 200))
		h.sync("anne", anne, folder)
		nightly(t, c, s, t.TempDir())
	}
	in := needlesIn(s)
	if where := strings.Join(in, " "); len(in) < 15 || !strings.Contains(where, "packs/") || !strings.Contains(where, "/checkpoints/") || !strings.Contains(where, "/records/") {
		t.Fatalf("the needle is in %q: this test no longer covers its case", in)
	}
	part, lock := repository.Config{Name: "p0", Location: "memory", Store: s}, repository.LockOptions{Owner: "test", Now: c.clock}
	look, err := erasure.Look(t.Context(), []repository.Config{part}, repository.UserName("anne"), c.clock)
	if err == nil {
		_, err = erasure.Erase(t.Context(), look, erasure.Options{By: "test", Reason: "test", Lock: lock})
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range needlesIn(s) {
		if !strings.HasPrefix(key, "packs/") {
			t.Errorf("after the erasure the needle is in %s", key)
		}
	}
	c.now = c.now.Add(erasure.Grace + time.Minute)
	due, err := erasure.Open(t.Context(), part)
	if err != nil || len(due) != 1 {
		t.Fatalf("%+v, %v", due, err)
	}
	res, err := collection.Collect(t.Context(), part, collection.Options{Lock: lock, Erase: erasure.Packs(t.Context(), part, due)})
	if err != nil || res.Blocking > 0 || res.Erasing > 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	if settled, err := erasure.Settle(t.Context(), part, due, res, lock); err != nil || len(settled) != 1 || settled[0].State != repository.ErasureDone {
		t.Fatalf("%+v, %v", settled, err)
	}
	if in := needlesIn(s); len(in) > 0 {
		t.Errorf("the needle is in %q", in)
	}
	h.expectSame("bob", bob)
	checkBucket(t, s, "user/bob", bob).Close()
	// The user comes back, and a daemon with the former index stores everything again.
	h.sync("anne", anne, folder)
	h.expectSame("anne", anne, folder)
	checkBodies(t, s, "user/anne")
	if list, _, err := history.ReadCondemned(t.Context(), s); err != nil || len(list.Packs) == 0 {
		t.Errorf("condemned: %+v, %v", list, err)
	}
	noDamage(t, s)
}
