package partitions_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// A new commit does not refer to a pack that is about to be deleted: the server requests the
// message from the client and stores it again.
func TestCondemnedPacksAreNotReused(t *testing.T) {
	s := newStore()
	now := time.Now()
	h := newHostWith(t, func(o *partitions.Options) { o.Now = func() time.Time { return now } }, s)
	a, b := newSource("user.anne"), newSource("user.bert")
	for i := range 400 { // more than a commit takes inline
		a.deliver(mail(i, 5000))
		b.deliver(mail(i, 5000))
	}
	large := noise(3, 3<<20)
	a.deliver(large)
	b.deliver(large)
	h.sync("anne", a)
	dead := packsOf(t, s)
	if len(dead) == 0 {
		t.Fatal("no pack was put: this test no longer covers its case")
	}
	condemn(t, s, now, dead)
	now = now.Add(11 * time.Minute) // the host reads the list again
	h.sync("bert", b)
	for _, key := range dead {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	checkBucket(t, s, "user/bert", b)
}

// condemn puts packs on the list of those that are about to be deleted.
func condemn(t *testing.T, s objstore.Store, now time.Time, keys []string) {
	t.Helper()
	list := &history.Condemned{Version: history.Version}
	for _, key := range keys {
		list.Packs = append(list.Packs, history.CondemnedPack{Key: key, Since: now})
	}
	bytesOf, err := list.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), history.CondemnedKey, bytes.NewReader(bytesOf), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

func packsOf(t *testing.T, s objstore.Store) (keys []string) {
	t.Helper()
	for info, err := range s.List(t.Context(), "packs/", "") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(info.Key, ".tar.zst") {
			keys = append(keys, info.Key)
		}
	}
	return keys
}
