package partitions_test

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// lateWorld has a pack that only anne's backup names, and a second user who gets the message
// in it.
type lateWorld struct {
	t    *testing.T
	now  time.Time
	mem  *memstore.Store
	s    *faultstore.Store
	h    *host
	bert *source
	pack string
	anne *source
	logs bytes.Buffer
}

func newLateWorld(t *testing.T) *lateWorld {
	w := &lateWorld{t: t, now: time.Now(), bert: newSource("user.bert")}
	w.mem = memstore.New(func() time.Time { return w.now })
	w.s = faultstore.New(w.mem)
	w.h = newHostWith(t, func(o *partitions.Options) {
		o.Now = func() time.Time { return w.now }
		o.Logger = slog.New(slog.NewTextHandler(&w.logs, nil))
	}, w.s)
	w.anne = newSource("user.anne")
	large := noise(3, 3<<20)
	w.anne.deliver(large)
	w.h.sync("anne", w.anne)
	packs := packsOf(t, w.mem)
	if len(packs) != 1 {
		t.Fatalf("%d packs: this test no longer covers its case", len(packs))
	}
	w.pack = packs[0]
	w.h.sync("bert", w.bert)
	w.bert.deliver(large)
	return w
}

func (w *lateWorld) put(key string, b []byte, err error) {
	if err == nil {
		_, err = w.mem.Put(w.t.Context(), key, bytes.NewReader(b), objstore.PutOptions{})
	}
	if err != nil {
		w.t.Error(err)
	}
}

// condemn puts the pack on the list, or takes it off.
func (w *lateWorld) condemn(packs ...string) {
	list := &history.Condemned{Version: history.Version, Packs: []history.CondemnedPack{}}
	for _, key := range packs {
		list.Packs = append(list.Packs, history.CondemnedPack{Key: key, Since: w.now})
	}
	b, err := list.Append(nil)
	w.put(history.CondemnedKey, b, err)
}

// remove removes the pack as collection does. The pack has left the list, too.
func (w *lateWorld) remove() {
	key, _ := history.MovedKey(w.pack)
	b, err := (&history.Moved{Version: history.Version, Pack: w.pack, Time: w.now, Entries: map[string]string{}}).Append(nil)
	w.put(key, b, err)
	w.mem.Lose(w.pack)
	w.condemn()
}

// untilSame syncs bert until nothing is left to send, and returns how often he got LOCKED.
func (w *lateWorld) untilSame() (locked int) {
	w.t.Helper()
	for range 5 {
		c := w.h.client()
		_, err := c.sync("bert", w.bert)
		c.s.Close()
		if err == nil {
			w.h.expectSame("bert", w.bert)
			checkBucket(w.t, w.mem, "user/bert", w.bert)
			return locked
		}
		if !errors.Is(err, cyrus.ErrLocked) {
			w.t.Fatal(err)
		}
		locked++
	}
	w.t.Fatal("bert is LOCKED for ever")
	return locked
}

// A writer sleeps between the check of its packs and its commit, while a pack is condemned or
// removed: its client gets no OK before the message is stored again.
func TestWriterSleepsBeforeItsCommit(t *testing.T) {
	for name, meanwhile := range map[string]func(w *lateWorld){
		"condemned": func(w *lateWorld) { w.condemn(w.pack) },
		"removed":   (*lateWorld).remove,
	} {
		t.Run(name, func(t *testing.T) {
			w := newLateWorld(t)
			w.s.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && key == history.LogKey("user/bert", 2) }, Call: func(string, string) {
				w.now = w.now.Add(26 * time.Hour)
				meanwhile(w)
			}})
			if locked := w.untilSame(); locked == 0 {
				t.Error("the late commit got an OK")
			}
			w.mem.Lose(w.pack)
			checkBucket(t, w.mem, "user/bert", w.bert)
		})
	}
}

// A commit that takes less than an hour, or whose packs are still there, is not LOCKED.
func TestSlowWriterIsNotLate(t *testing.T) {
	for _, d := range []time.Duration{30 * time.Minute, 26 * time.Hour} {
		w := newLateWorld(t)
		w.s.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && key == history.LogKey("user/bert", 2) }, Call: func(string, string) {
			w.now = w.now.Add(d)
		}})
		if locked := w.untilSame(); locked != 0 {
			t.Errorf("after %s: LOCKED %d times", d, locked)
		}
	}
}

// The list is read again before a commit: a pack that this connection has put days ago may be
// condemned, because no commit names it.
func TestStagedInCondemnedPack(t *testing.T) {
	w := newLateWorld(t)
	c := w.h.client()
	if _, _, err := c.getUser("bert"); err != nil {
		t.Fatal(err)
	}
	own := noise(4, 3<<20)
	r := w.bert.deliver(own)
	if err := c.upload(t.Context(), w.bert, r); err != nil {
		t.Fatal(err)
	}
	// The pack is put when it is flushed: by a commit of another message.
	other := newSource("user.bert.other")
	other.deliver(noise(5, 3<<20))
	if err := c.upload(t.Context(), other, other.records[0]); err != nil {
		t.Fatal(err)
	}
	if err := c.s.ApplyMailbox(t.Context(), other.head(), cyrus.Since{}, seq(other.records)); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(8 * 24 * time.Hour)
	w.condemn(slices.DeleteFunc(packsOf(t, w.mem), func(key string) bool { return key == w.pack })...)
	err := c.s.ApplyMailbox(t.Context(), w.bert.head(), cyrus.Since{}, seq(w.bert.records))
	if !errors.Is(err, cyrus.ErrLocked) {
		t.Fatalf("error %v", err)
	}
	c.s.Close()
	condemned := packsOf(t, w.mem)
	if w.untilSame(); len(packsOf(t, w.mem)) == len(condemned) {
		t.Error("no other pack was put")
	}
}

// The index of a host offers a message whose pack was removed meanwhile. That is no sign of an
// older state of the bucket: only this message is sent again.
func TestIndexKnowsRemovedPack(t *testing.T) {
	w := newLateWorld(t)
	w.now = w.now.Add(30 * 24 * time.Hour)
	w.remove()
	if locked := w.untilSame(); locked > 1 {
		t.Errorf("LOCKED %d times", locked)
	}
	if strings.Contains(w.logs.String(), "level=ERROR") {
		t.Errorf("the log has errors:\n%s", &w.logs)
	}
}

// A commit arrives a day after its process has ended. The next process to see it proves its
// packs.
func TestCommitArrivesLate(t *testing.T) {
	w := newLateWorld(t)
	other := newHostWith(t, func(o *partitions.Options) { o.Now = func() time.Time { return w.now } }, w.s)
	other.sync("anne", w.anne) // now this host knows the pack
	other.sync("bert", w.bert)
	other.stop()
	key := history.LogKey("user/bert", 2)
	commit := w.mem.Bytes(key)
	w.mem.Lose(key)
	w.now = w.now.Add(26 * time.Hour)
	w.remove()
	w.put(key, commit, nil)
	w.untilSame()
}

// Several commits arrive late, and the packs of all of them were removed. The client is deferred once.
func TestCommitsArriveLate(t *testing.T) {
	w := newLateWorld(t)
	other := newHostWith(t, func(o *partitions.Options) { o.Now = func() time.Time { return w.now } }, w.s)
	second := noise(4, 3<<20)
	w.anne.deliver(second)
	other.sync("anne", w.anne)
	other.sync("bert", w.bert)
	w.bert.deliver(second)
	other.sync("bert", w.bert)
	other.stop()
	commits := map[string][]byte{}
	for n := uint64(2); n <= 3; n++ {
		key := history.LogKey("user/bert", n)
		commits[key] = w.mem.Bytes(key)
		w.mem.Lose(key)
	}
	w.now = w.now.Add(26 * time.Hour)
	packs := packsOf(t, w.mem)
	if len(packs) != 2 {
		t.Fatalf("%d packs: this test no longer covers its case", len(packs))
	}
	for _, w.pack = range packs {
		w.remove()
	}
	for key, b := range commits {
		w.put(key, b, nil)
	}
	if locked := w.untilSame(); locked != 1 {
		t.Errorf("bert was LOCKED %d times, want once", locked)
	}
}
