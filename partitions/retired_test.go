package partitions_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// retiredWorld is a daemon whose index has the places of anne's large messages in a pack that was rewritten long ago, and
// whose note was removed.
type retiredWorld struct {
	lateWorld
	log         bytes.Buffer
	shared, own []byte // the messages; bert's client has the first one too
}

func newRetiredWorld(t *testing.T) *retiredWorld {
	t.Helper()
	c := &clocked{now: time.Now()}
	s := memstore.New(c.clock)
	w := &retiredWorld{lateWorld: lateWorld{t: t, mem: s}, shared: noise(3, 2<<20), own: noise(4, 2<<20)}
	h := newHostWith(t, func(o *partitions.Options) {
		o.Now, o.Logger = c.clock, slog.New(slog.NewTextHandler(&w.log, nil))
	}, s)
	anne, bert, cache := newSource("user.anne"), newSource("user.bert"), t.TempDir()
	w.h, w.anne, w.bert = h, anne, bert
	anne.deliver(w.shared)
	anne.deliver(w.own)
	h.sync("anne", anne)
	packs := packsOf(t, s)
	if len(packs) != 1 {
		t.Fatalf("packs %v: this test no longer covers its case", packs)
	}
	bert.deliver(mail(99, 3000))
	h.sync("bert", bert)
	note, _ := history.MovedKey(packs[0])
	noted, nights := false, 0
	for ; nights < 40 && (!noted || s.Bytes(note) != nil); nights++ {
		if nights == 8 {
			condemnAll(t, c, s, packs)
		}
		c.now = c.now.Add(25 * time.Hour)
		for _, user := range []*source{anne, bert} {
			user.deliver(mail(nights, 3000))
		}
		h.sync("anne", anne)
		h.sync("bert", bert)
		nightly(t, c, s, cache)
		noted = noted || s.Bytes(note) != nil && s.Bytes(packs[0]) == nil
	}
	if s.Bytes(note) != nil || s.Bytes(packs[0]) != nil {
		t.Fatalf("after %d nights: the pack is there %v, its note %v", nights, s.Bytes(packs[0]) != nil, s.Bytes(note) != nil)
	}
	w.pack = packs[0]
	checkBucket(t, s, "user/anne", anne).Close()
	return w
}

// end checks that nothing is lost, nothing counts as rolled back, and no commit names the former pack.
func (w *retiredWorld) end() {
	w.t.Helper()
	checkBucket(w.t, w.mem, "user/anne", w.anne).Close()
	checkBucket(w.t, w.mem, "user/bert", w.bert).Close()
	noDamage(w.t, w.mem)
	if text := w.log.String(); strings.Contains(text, "rolled back") || strings.Contains(text, "ERROR") {
		w.t.Errorf("the bucket counts as restored to an older state, or mail as lost:\n%s", text)
	}
	if n := w.h.set.LossCount("p0"); n != 0 {
		w.t.Errorf("%d losses are recorded: each backup would be searched for them", n)
	}
	for _, path := range []string{"user/anne", "user/bert"} {
		for _, key := range w.mem.Keys(history.LogPrefix(path)) {
			for p, err := range history.LogPlaces(w.t.Context(), w.mem, key) {
				if err != nil || p.Object == w.pack {
					w.t.Fatal(fmt.Errorf("%s names %s: %w", key, p.Object, err))
				}
			}
		}
	}
}

// Another user gets messages that the index has only in the former pack: they are asked for again. Then the first user
// copies and reads hers, whose places the index has forgotten: the log has them.
func TestDaemonKnowsRetiredPack(t *testing.T) {
	w := newRetiredWorld(t)
	for i, body := range [][]byte{w.shared, noise(5, 2<<20)} {
		w.bert.deliver(body)
		if locked := w.untilSame(); locked > 1-i {
			t.Errorf("message %d: LOCKED %d times", i, locked)
		}
	}
	w.bert.deliver(w.own)
	if locked := w.untilSame(); locked > 1 {
		t.Errorf("LOCKED %d times", locked)
	}
	if locked := w.copyAnnes(w.own); locked > 1 {
		t.Errorf("her copy of the message: LOCKED %d times", locked)
	}
	w.end()
}

// A user copies and reads her own messages, which the index has in the former pack. The log has their present places.
func TestCopyFromRetiredPack(t *testing.T) {
	for _, forgotten := range []bool{false, true} {
		t.Run(fmt.Sprintf("forgotten %v", forgotten), func(t *testing.T) {
			w := newRetiredWorld(t)
			if forgotten { // another user's client has announced the message, and has not sent it yet
				w.bert.deliver(w.shared)
				c := w.h.client()
				if _, err := c.sync("bert", w.bert); !errors.Is(err, cyrus.ErrLocked) {
					t.Error(err)
				}
				c.s.Close()
			}
			tries := 0
			for ; tries < 3; tries++ {
				c := w.h.client()
				err := c.fetch(w.anne, w.anne.records[0])
				c.s.Close()
				if err == nil {
					break
				}
				t.Log(err)
			}
			if tries > 1 {
				t.Errorf("her message was read after %d errors", tries)
			}
			for i, body := range [][]byte{w.own, w.shared} {
				if locked := w.copyAnnes(body); locked > 1 {
					t.Errorf("her copy of message %d: LOCKED %d times", i, locked)
				}
			}
			if w.untilSame(); len(w.bert.records) == 0 {
				t.Error("bert has no mail: this test no longer covers its case")
			}
			w.end()
		})
	}
}

// copyAnnes delivers a message that anne has, and returns how often her client was LOCKED.
func (w *retiredWorld) copyAnnes(body []byte) (locked int) {
	w.t.Helper()
	w.anne.deliver(body)
	for range 5 {
		c := w.h.client()
		_, err := c.sync("anne", w.anne)
		c.s.Close()
		if err == nil {
			w.h.expectSame("anne", w.anne)
			return locked
		}
		if !errors.Is(err, cyrus.ErrLocked) {
			w.t.Fatal(err)
		}
		locked++
	}
	w.t.Fatal("anne is LOCKED for ever")
	return locked
}
