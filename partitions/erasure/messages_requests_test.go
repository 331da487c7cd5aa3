package erasure_test

import (
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A run is killed after any change, and a copy of that request arrives after the next run. Nothing comes back.
func TestMessagesLatePuts(t *testing.T) {
	n, killed := within(10), 0
	for more := true; more; n += sparsely() {
		w := newLetters(t)
		f := faultstore.New(w.mem)
		w.store = f
		dead := false
		f.Add(faultstore.Fault{Skip: n, Count: 1, Match: puts, Late: true, After: func(string, string) error {
			dead = true
			killed++
			return faultstore.ErrLost
		}})
		f.Add(faultstore.Fault{Before: func(string, string) error {
			if dead {
				return &objstore.Error{Op: "test", Temporary: true, Err: faultstore.ErrLost}
			}
			return nil
		}})
		_, err := w.tryMessages()
		more = dead
		f.Clear()
		w.store = w.mem
		if err != nil {
			w.later(hour)
			w.mustMessages()
		}
		f.Deliver(t.Context())
		for range 3 {
			w.later(15 * hour)
			w.finish()
		}
		w.nowhere()
		if t.Failed() {
			t.Fatalf("put %d: %v", n, err)
		}
	}
	if n < 12 || killed == 0 {
		t.Errorf("only %d puts, killed at %d", n, killed)
	}
}

func puts(op, _ string) bool { return op == "put" }

// A segment that an earlier merge has put arrives again after the erasure, with the places of the messages.
func TestMessagesLateSegment(t *testing.T) {
	w := newLetters(t)
	w.merge()
	key := w.segment(1)
	before := w.mem.Bytes(key)
	w.mustMessages()
	if string(w.mem.Bytes(key)) == string(before) {
		t.Fatal("the segment was not replaced")
	}
	w.later(hour)
	w.put(key, before)
	for range 3 {
		w.later(15 * hour)
		w.finish()
	}
	w.nowhere()
}

// segment returns the key of the segment with a commit.
func (w *letters) segment(n uint64) string {
	w.t.Helper()
	for _, key := range w.mem.Keys(history.LogPrefix(anne)) {
		if from, to, ok := history.ParseLogKey(anne, key); ok && key != history.LogKey(anne, from) && from <= n && n <= to {
			return key
		}
	}
	w.t.Fatalf("no segment has commit %d", n)
	return ""
}

// A message is in a commit that is too large to be merged, with its body inline. The erasure merges that commit. A copy of
// the request to put it arrives later: compaction removes it when it is old enough.
func TestMessagesInLargeCommit(t *testing.T) {
	if raceEnabled {
		t.Skip("it takes 2 MiB")
	}
	w := newLetters(t)
	g := w.large()
	w.commit("anne", nil, &history.ExpungeEvent{UniqueID: "inbox", UIDs: []uint32{900}})
	w.later(5 * day)
	w.merge()
	n := w.newest() - 1
	key := history.LogKey(anne, n)
	b := w.mem.Bytes(key)
	if len(b) <= 2<<20 {
		t.Fatalf("commit %d has %d bytes, and was not to be merged", n, len(b))
	}
	w.commit("anne", map[int]string{901: ""})
	if _, err := w.tryErasing("anne", g); err != nil {
		t.Fatal(err)
	}
	if w.has(key) {
		t.Error("the commit was not merged")
	}
	w.later(hour)
	w.put(key, b)
	for range 2 {
		w.later(15 * hour)
		w.finish()
	}
	if len(w.open()) == 0 {
		t.Error("it did not wait for the commit")
	}
	w.later(3 * day)
	w.merge()
	w.nightsOf(2)
	var erased *history.ErasedError
	w.readableAt("anne", n, g, &erased)
	if in := w.holding([]byte(largeMark)); len(in) > 0 || w.has(key) {
		t.Errorf("the body is in %q", in)
	}
}

// A repair has put an early commit again, so that it is young. Commits are merged in order: the erasure of a message in a
// later one is refused, and changes nothing. It is possible when the early one is old enough.
func TestMessagesBehindYoungCommit(t *testing.T) {
	w := newLetters(t)
	first := history.LogKey(anne, 1)
	w.put(first, w.mem.Bytes(first))
	w.commit("anne", map[int]string{8: w.pack(8)})
	w.commit("anne", nil, &history.ExpungeEvent{UniqueID: "inbox", UIDs: []uint32{8}})
	n := w.newest() - 1
	w.later(hour)
	w.commit("anne", map[int]string{109: ""})
	w.later(4 * day)
	w.put(first, w.mem.Bytes(first))
	before := w.content2()
	if _, err := w.tryErasing("anne", message(8).GUID); !errors.Is(err, maintenance.ErrTooYoung) || w.content2() != before {
		t.Fatalf("%v", err)
	}
	w.later(4 * day)
	if _, err := w.tryErasing("anne", message(8).GUID); err != nil {
		t.Fatal(err)
	}
	var erased *history.ErasedError
	w.readableAt("anne", n, message(8).GUID, &erased)
}

// Someone places a hold between any two requests: the erasure ends, or has no effect. Nothing is half removed for ever:
// after the release, another run completes it.
func TestMessagesHoldMeanwhile(t *testing.T) {
	n, refused := within(35), 0
	for more := true; more; n += 2 * sparsely() {
		w := newLetters(t)
		f := faultstore.New(w.mem)
		w.store = f
		f.Add(faultstore.Fault{Skip: n, Count: 1, Call: func(string, string) {
			w.hold(w.found("anne"), repository.HoldPlaced)
		}})
		_, err := w.tryMessages()
		more = f.Struck() > 0
		f.Clear()
		w.store = w.mem
		if errors.Is(err, repository.ErrOnHold) {
			refused++
		} else if err != nil {
			t.Fatalf("request %d: %v", n, err)
		}
		if more {
			w.release()
		}
		if err != nil {
			w.mustMessages()
		}
		for range 2 {
			w.later(15 * hour)
			w.finish()
		}
		w.nowhere()
		if t.Failed() {
			t.Fatalf("request %d: %v", n, err)
		}
	}
	if n < 60 || refused == 0 {
		t.Errorf("%d requests, %d refused", n, refused)
	}
}

// largeMark is in the body of the message of large.
const largeMark = "LARGE-77ab"

// large commits a message to anne with its body inline, of more bytes than are merged, and returns its GUID.
func (w *letters) large() cyrus.GUID {
	w.t.Helper()
	body := make([]byte, 2<<20+1000)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range body {
		body[i] = byte(rng.Uint32())
	}
	copy(body, largeMark)
	m := history.Message{GUID: sha1.Sum(body), Size: int64(len(body)), Chunks: []history.ChunkID{sha256.Sum256(body)}}
	w.inline(m, body)
	return m.GUID
}

// inline commits a message to anne, with its body in the commit, and UID 900.
func (w *letters) inline(m history.Message, body []byte) {
	w.t.Helper()
	f := w.found("anne")
	tip, _, err := f.Tip(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	o := w.lock()
	b := history.NewBuilder(o.Header(f, tip, w.now), pack.Options{})
	r := &cyrus.Record{UID: 900, ModSeq: 1, GUID: m.GUID, Size: uint32(m.Size), LastUpdated: w.now.Unix(), InternalDate: w.now.Unix()}
	for _, e := range []history.Event{&history.MessagesEvent{Messages: []history.Message{m}}, &history.RecordsEvent{UniqueID: "inbox", Records: []*cyrus.Record{r}}} {
		if err := b.Event(e); err != nil {
			w.t.Fatal(err)
		}
	}
	entry := m.GUID.String() + ".eml"
	b.Inline(entry, body)
	b.Place(history.Place{Chunk: m.Chunks[0], Object: ".", Entry: entry})
	if won, err := f.PutBuilt(w.t.Context(), b); err != nil || !won {
		w.t.Fatal(won, err)
	}
}

func (w *letters) newest() uint64 {
	w.t.Helper()
	n, err := w.found("anne").Log().Newest(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// release ends the holds of anne.
func (w *letters) release() {
	w.t.Helper()
	w.later(time.Minute)
	if _, err := w.found("anne").ReleaseHolds(w.t.Context(), w.here, repository.AnyHold); err != nil {
		w.t.Fatal(err)
	}
}
