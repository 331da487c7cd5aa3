package erasure_test

import (
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A run ends with, or after, the put of its event, which does not get into the record: by a failure of that put, of the look at
// backup.json after it, or of the put of the record. Perhaps the message arrives again then, and is live. The next run finds
// its event in the log: what has arrived after it stays, and everything before it is erased, with the time of the event.
func TestMessagesEventNotRecorded(t *testing.T) {
	for name, match := range map[string]func(op, key string, put bool) bool{
		"event":       func(op, key string, _ bool) bool { return op == "put" && isCommit(key) },
		"backup.json": func(op, key string, put bool) bool { return put && key == repository.BackupInfoKey(anne) },
		"record":      func(op, key string, put bool) bool { return put && op == "put" && strings.HasPrefix(key, "erased/") },
	} {
		for _, again := range []bool{true, false} {
			if raceEnabled && !again {
				continue
			}
			w := newLetters(t)
			err := w.dies(name == "event", match)
			event := w.newest()
			if r := w.records(); err == nil || len(r) != 1 || r[0].Commit != 0 || r[0].State != repository.ErasureRemoving {
				t.Fatalf("%s: %v, %+v", name, err, r)
			}
			w.later(hour)
			if again {
				w.commit("anne", map[int]string{1: ""})
				w.checkpoint("anne")
			}
			done := w.mustMessages()
			h, err := history.ReadHeader(t.Context(), w.mem, anne, event)
			if err != nil || done.Commit != event || !done.Erased.Equal(h.Time) {
				t.Errorf("%s: commit %d of %s, want %d of %s, %v", name, done.Commit, done.Erased, event, h.Time, err)
			}
			w.nightsOf(2)
			for n := uint64(1); n <= event; n++ {
				w.at(history.Moment{Number: n})
			}
			if again {
				w.numbers = []int{3, 4}
				w.check2("anne", 1)
				w.gone2(event + 1)
				w.numbers = []int{3}
			}
			if in := w.bodies(); len(in) > 0 {
				t.Errorf("%s: a body is in %q", name, in)
			}
			if t.Failed() {
				t.Fatalf("%s, again %t", name, again)
			}
		}
	}
}

// dies erases the messages until match chooses a request. This one and all later ones fail; put: the event was put before. after: the
// first one has an effect.
func (w *letters) dies(after bool, match func(op, key string, put bool) bool) error {
	f := faultstore.New(w.mem)
	w.store = f
	var put, dead atomic.Bool
	fail := func(op, key string) error {
		if match(op, key, put.Load()) {
			dead.Store(true)
		}
		if dead.Load() {
			return &objstore.Error{Op: "test", Temporary: true, Err: faultstore.ErrLost}
		}
		return nil
	}
	f.Add(faultstore.Fault{Before: func(op, key string) error {
		if after && !dead.Load() {
			return nil
		}
		return fail(op, key)
	}, After: func(op, key string) (err error) {
		if after {
			err = fail(op, key)
		}
		if op == "put" && isCommit(key) {
			put.Store(true)
		}
		return err
	}})
	_, err := w.tryMessages()
	w.store = w.mem
	return err
}

// isCommit reports whether a key is that of a single commit of anne.
func isCommit(key string) bool {
	from, _, ok := history.ParseLogKey(anne, key)
	return ok && key == history.LogKey(anne, from)
}

// The same messages are erased, arrive again, are deleted, and are erased again. The second erasure has its own event, and
// does not take the first one for it.
func TestMessagesErasedTwice(t *testing.T) {
	w := newLetters(t)
	first := w.mustMessages().Commit
	w.nightsOf(2)
	w.commit("anne", map[int]string{1: "", 3: "", 4: ""})
	w.commit("anne", nil, &history.ExpungeEvent{UniqueID: "inbox", UIDs: []uint32{1, 3, 4}})
	w.later(5 * day)
	w.commit("anne", map[int]string{109: ""})
	if second := w.mustMessages().Commit; second <= first {
		t.Errorf("commit %d, after %d", second, first)
	}
	w.nightsOf(2)
	w.nowhere()
}

// A segment of other commits than today's arrives after the event of a run, or before any later change. It leads to a pack that the
// run has not seen, and that another user needs. The body is removed from that pack, too.
func TestMessagesLateSegmentWithin(t *testing.T) {
	n, late := within(9), 0
	for more := true; more; n += max(1, sparsely()/2) {
		w := newLetters(t)
		key, object := w.lateSegment()
		f := faultstore.New(w.mem)
		w.store = f
		arrived := false
		f.Add(faultstore.Fault{Skip: n, Count: 1, Match: func(op, _ string) bool { return op == "put" || op == "delete" }, Call: func(string, string) {
			w.put(key, object)
			arrived = true
			late++
		}})
		_, err := w.tryMessages()
		f.Clear()
		w.store = w.mem
		if more = arrived; !more {
			break
		}
		if err != nil {
			w.later(4 * day)
			w.merge()
			w.mustMessages()
		}
		w.later(15 * hour)
		w.finish()
		w.nightsOf(4)
		if in := w.bodies(); len(in) > 0 {
			t.Errorf("a body is in %q", in)
		}
		w.at(history.Moment{Number: 1})
		if t.Failed() {
			t.Fatalf("change %d: %v", n, err)
		}
	}
	if n < 12 || late == 0 {
		t.Errorf("only %d changes, the segment arrived at %d", n, late)
	}
}

// Between the moment when a segment or a checkpoint was found and its replacement, a delayed request puts another version under its
// key. That version is not overwritten: the run looks again.
func TestMessagesOtherVersion(t *testing.T) {
	for _, what := range []string{"log", "checkpoints"} {
		w := newLetters(t)
		w.merge()
		f := faultstore.New(w.mem)
		w.store = f
		key, others, puts := "", 0, 0
		f.Add(faultstore.Fault{Match: func(op, k string) bool {
			is := op == "put" && strings.HasPrefix(k, "backups/user/anne/"+what+"/") && !isCommit(k)
			if is && key == "" {
				key = k
			}
			if is && k == key {
				puts++
			}
			return is && k == key
		}, Count: 1, Call: func(_, k string) {
			w.put(k, append([]byte{}, w.mem.Bytes(k)...))
			others++
		}})
		w.mustMessages()
		w.store = w.mem
		if others != 1 || puts < 2 {
			t.Errorf("%s: %s has got %d other versions, and was put %d times", what, key, others, puts)
		}
		w.gone()
		w.nightsOf(2)
		w.nowhere()
	}
}

// lateSegment returns a segment of anne's first two commits. Its message 4 is in a pack with mail of bert, who names
// it.
func (w *letters) lateSegment() (key string, object []byte) {
	w.t.Helper()
	shared := w.pack(4, 120)
	b := history.NewSegmentBuilder(anne, pack.Options{})
	c := message(4).Chunks[0]
	for n := range uint64(2) {
		err := history.ReadCommit(w.t.Context(), w.mem, anne, n+1, func(r *history.CommitReader) error {
			return b.Add(r, func(p history.Place) (history.Place, error) {
				if p.Chunk == c {
					p.Object = shared
				}
				if p.Chunk == message(102).Chunks[0] {
					p.Object = w.pack(102)
				}
				return p, nil
			})
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	key, object, err := b.Finish()
	if err != nil {
		w.t.Fatal(err)
	}
	w.commit("bert", map[int]string{120: shared})
	return key, object
}

// A message is in a commit that is too large to be rewritten. The erasure is refused before it changes anything: afterwards, newer
// moments would call the message erased, and older ones would have it.
func TestMessagesInHugeCommit(t *testing.T) {
	if raceEnabled {
		t.Skip("it takes 64 MiB")
	}
	w := newLetters(t)
	body := make([]byte, 64<<20)
	m := history.Message{GUID: sha1.Sum(body), Size: int64(len(body)), Chunks: []history.ChunkID{sha256.Sum256(body)}}
	w.inline(m, body)
	w.commit("anne", nil, &history.ExpungeEvent{UniqueID: "inbox", UIDs: []uint32{900}})
	w.later(5 * day)
	w.commit("anne", map[int]string{109: ""})
	before := w.content2()
	_, err := w.tryErasing("anne", m.GUID)
	if err == nil || !strings.Contains(err.Error(), "can be rewritten") || errors.Is(err, maintenance.ErrTooYoung) || w.content2() != before {
		t.Errorf("%v", err)
	}
}
