package collection_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// condemn puts packs on the list.
func (w *world) condemn(keys ...string) {
	w.t.Helper()
	u, err := repository.BeginCollection(w.t.Context(), w.config(), w.options().Lock)
	if err != nil {
		w.t.Fatal(err)
	}
	err = collection.Condemn(w.t.Context(), w.config(), u, func(yield func(collection.Pack, error) bool) {
		for _, k := range keys {
			var p collection.Pack
			if err := p.UnmarshalText([]byte(k[len("packs/ab/"):][:64])); err != nil {
				w.t.Fatal(err)
			}
			if !yield(p, nil) {
				return
			}
		}
	})
	if err := errors.Join(err, u.End(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
}

// entries returns the numbers of the messages in a pack.
func (w *world) entries(key string) (numbers []int) {
	w.t.Helper()
	err := pack.Scan(bytes.NewReader(w.mem.Bytes(key)), func(name string, _ int64, body io.Reader) error {
		var n int
		_, err := fmt.Fscanf(body, "Subject: %d", &n)
		numbers = append(numbers, n)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(numbers)
	return numbers
}

// note returns the number of entries in the note about a pack; -1 = none.
func (w *world) note(key string) int {
	m, _, err := history.ReadMoved(w.t.Context(), w.mem, key)
	if err != nil {
		return -1
	}
	return len(m.Entries)
}

// shared prepares a pack that two backups use, one of them by a note about a former pack, and that
// is due to be rewritten. Messages 1, 2 and 5 are used, 3, 4, 6 and 7 are not.
func shared(w *world) (key, former string) {
	former, key = w.pack(5, 6), w.pack(1, 2, 3, 4, 5, 6, 7)
	w.commit("anne", map[int]string{1: key})
	w.commit("anne", map[int]string{10: ""})
	w.commit("bert", map[int]string{2: key})
	w.commit("carl", map[int]string{5: former})
	w.later(hour)
	w.noteMoved(former, key, 5, 6)
	w.mem.Lose(former)
	w.checkpoint("bert")
	w.later(8 * day)
	w.condemn(key)
	w.later(25 * hour)
	return key, former
}

func (w *world) noteMoved(from, to string, numbers ...int) {
	w.t.Helper()
	var entries []string
	for _, n := range numbers {
		entries = append(entries, message(n).GUID.String()+".eml")
	}
	if err := repository.NoteMoved(w.t.Context(), w.mem, false, w.now, from, entries, to); err != nil {
		w.t.Fatal(err)
	}
}

// rewritten checks the partition after shared and a rewrite. If the rewrite was interrupted, an
// entry may have two copies.
func (w *world) rewritten(key, former string) {
	w.t.Helper()
	for _, u := range []string{"anne", "bert", "carl"} {
		w.check(u)
	}
	if n := w.note(key); w.has(key) || n < 2 || n > 3 || w.note(former) != 1 {
		w.t.Errorf("exists %v; %d entries in its note, %d in the older one", w.has(key), n, w.note(former))
	}
	var all []int
	for _, p := range w.packs() {
		all = append(all, w.entries(p)...)
	}
	if slices.Sort(all); !slices.Equal(slices.Compact(all), []int{1, 2, 5}) {
		w.t.Errorf("the packs have messages %v", all)
	}
	if w.condemned(key) {
		w.t.Error("the pack is still on the list")
	}
}

// nextNight runs a pass in the night after a rewrite: it removes the packs that were rewritten.
func (w *world) nextNight() *collection.Result {
	w.t.Helper()
	w.later(21 * hour)
	return w.collect()
}

// A used pack is rewritten without its dead entries, and every note leads to the new pack.
func TestRewrite(t *testing.T) {
	w := newWorld(t)
	key, former := shared(w)
	r := w.collect()
	if !w.has(key) || r.Rewritten.Packs != 1 || r.Written.Packs != 1 || r.Rewritten.Bytes <= r.Written.Bytes || r.All.Packs != 2 {
		t.Fatalf("exists %v: %+v", w.has(key), r)
	}
	w.later(19 * hour)
	if r = w.collect(); !w.has(key) || r.Rewritten.Packs != 0 {
		t.Fatalf("after 19 hours: exists %v: %+v", w.has(key), r)
	}
	w.later(2 * hour)
	if r = w.collect(); w.has(key) || !w.condemned(key) || r.Replaced.Packs != 1 || r.Rewritten.Packs+r.Written.Packs != 0 || r.All.Packs != 1 || r.Used.Packs != 1 {
		t.Fatalf("exists %v, condemned %v: %+v", w.has(key), w.condemned(key), r)
	}
	w.later(3 * hour)
	w.collect()
	w.rewritten(key, former)
}

// Notes that lead from one to the other make the last pack used, too.
func TestRewriteFollowsChains(t *testing.T) {
	w := newWorld(t)
	first, second, third := w.pack(1, 9), w.pack(1, 9), w.pack(1, 2, 9)
	w.commit("anne", map[int]string{1: first})
	w.commit("anne", map[int]string{3: ""})
	w.noteMoved(first, second, 1)
	w.noteMoved(second, third, 1, 9)
	w.mem.Lose(first)
	w.mem.Lose(second)
	w.condemn(third)
	w.collectFor(3)
	if packs := w.packs(); len(packs) != 1 || !slices.Equal(w.entries(packs[0]), []int{1}) {
		t.Errorf("packs %v", packs)
	}
	if w.note(second) != 1 || w.note(third) != 1 {
		t.Errorf("notes with %d and %d entries", w.note(second), w.note(third))
	}
}

// A note may have entries that a backup on its way into this partition has copied, and whose log
// is not there yet.
func TestRewriteKeepsNotedEntries(t *testing.T) {
	w := newWorld(t)
	old, copied := w.pack(1, 2, 3), w.pack(2)
	w.commit("anne", map[int]string{1: old})
	w.condemn(old)
	w.later(24 * hour)
	w.noteMoved(old, copied, 2)
	w.later(2 * hour)
	w.collectFor(2)
	w.commit("bert", map[int]string{2: old})
	w.check("anne")
	w.check("bert")
	if w.has(old) || w.note(old) != 2 {
		t.Errorf("exists %v, note with %d entries", w.has(old), w.note(old))
	}
}

// A pack that cannot be read completely is kept. Others are rewritten.
func TestDamagedPackIsKept(t *testing.T) {
	for name, damage := range map[string]func(*world, string){
		"damaged":   func(w *world, key string) { w.mem.Flip(key, 30) },
		"truncated": func(w *world, key string) { w.mem.Truncate(key, 100) },
		"lacks an entry": func(w *world, key string) {
			w.put(key, w.mem.Bytes(w.pack(1)))
		},
		"another chunk": func(w *world, key string) {
			wrong := place(2, key)
			wrong.Chunk = sha256.Sum256(nil)
			w.commitPlace("carl", wrong)
		},
		"another body": func(w *world, key string) {
			p := pack.NewWriter(nil, pack.Options{})
			for _, n := range []int{1, 2} {
				if err := p.Put(pack.MessageName(message(n).GUID), body(n+1)); err != nil {
					w.t.Fatal(err)
				}
			}
			b, err := p.Finish()
			if err != nil {
				w.t.Fatal(err)
			}
			w.put(key, b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			bad, good := w.pack(1, 2, 3), w.pack(4, 5, 6)
			w.commit("anne", map[int]string{1: bad, 2: bad})
			w.commit("bert", map[int]string{4: good})
			damage(w, bad)
			w.condemn(bad, good)
			w.later(25 * hour)
			w.collect()
			w.later(21 * hour)
			r := w.collect()
			if !w.has(bad) || w.has(good) || r.Keeping != 1 || len(r.Kept) != 1 || r.Kept[0].Key != bad {
				t.Errorf("bad %v, good %v: %+v", w.has(bad), w.has(good), r)
			}
			if w.note(bad) >= 0 {
				t.Error("there is a note about the pack that was kept")
			}
			w.check("bert")
		})
	}
}

// commitPlace puts a commit that has only a place.
func (w *world) commitPlace(user string, p history.Place) {
	w.t.Helper()
	f := w.found(user)
	tip, _, err := f.Tip(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	o := w.options().Lock
	b := history.NewBuilder(o.Header(f, tip, w.now), pack.Options{})
	w.event(b, &history.MailboxEvent{UniqueID: "inbox", Name: "user." + user})
	b.Place(p)
	if won, err := f.PutBuilt(w.t.Context(), b); err != nil || !won {
		w.t.Fatal(won, err)
	}
}

// What cannot be read after the first count blocks the rewrite: the entries are counted again.
func TestSecondCountBlocks(t *testing.T) {
	log := history.LogKey("user/anne", 1)
	for name, change := range map[string]func(*world){
		"damaged":      func(w *world) { w.mem.Flip(log, 40) },
		"lost":         func(w *world) { w.mem.Lose(log) },
		"disappeared":  func(w *world) { loseAll(w, "backups/user/anne/") },
		"unmounted":    func(w *world) { loseAll(w, "backups/") },
		"note damaged": func(w *world) { w.mem.Truncate(w.mem.Keys("moved/")[0], 400) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			key, former := shared(w)
			f := faultstore.New(w.mem)
			w.store = f
			f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "list" && key == "packs/" }, Call: func(string, string) { change(w) }})
			r, err := w.tryCollect()
			if err != nil || r.Blocking == 0 || !w.has(key) || w.note(key) >= 0 {
				t.Errorf("exists %v, note %d: %+v, %v", w.has(key), w.note(key), r, err)
			}
			if w.note(former) == 1 {
				t.Error("the older note was changed")
			}
		})
	}
}

func loseAll(w *world, prefix string) {
	for _, key := range w.mem.Keys(prefix) {
		w.mem.Lose(key)
	}
}

// Each request of a rewrite fails in turn, without effect or without an answer, and each one of the
// removal after it. A later pass completes it. At any time, everything can be read.
func TestEachRequestOfRewriteFails(t *testing.T) {
	for _, how := range []string{"before", "after", "removal before", "removal after"} {
		for n, more := 0, true; more; n += stride() {
			t.Run(fmt.Sprintf("%s %d", how, n), func(t *testing.T) {
				more = false
				w := newWorld(t)
				key, former := shared(w)
				w.rewrittenBefore(how)
				f := faultstore.New(w.mem)
				w.store = f
				fault := faultstore.Fault{Skip: n, Count: 1}
				fail := func(string, string) error {
					return &objstore.Error{Op: "test", Temporary: true, Err: errors.New("no answer")}
				}
				if strings.HasSuffix(how, "before") {
					fault.Before = fail
				} else {
					fault.After = fail
				}
				f.Add(fault)
				_, _ = w.tryCollect()
				more = f.Struck() > 0
				f.Clear()
				for _, u := range []string{"anne", "bert", "carl"} {
					w.check(u)
				}
				w.store = w.mem
				w.settle()
				w.rewritten(key, former)
			})
		}
	}
}

// rewrittenBefore runs a pass that rewrites, if a test is about the removal.
func (w *world) rewrittenBefore(how string) {
	w.t.Helper()
	if strings.HasPrefix(how, "removal") {
		w.collect()
		w.later(21 * hour)
	}
}

// settle runs passes until nothing is left to remove. Packs of an interrupted pass are removed when
// they are old.
func (w *world) settle() {
	w.t.Helper()
	w.later(5 * hour)
	w.collect()
	w.later(8 * day)
	w.collectFor(4)
}

// A second collector runs whole between any two requests of the first, as if it had no lease.
func TestTwoRewriters(t *testing.T) {
	for _, what := range []string{"rewrite", "removal"} {
		twoRewriters(t, what)
	}
}

func twoRewriters(t *testing.T, what string) {
	for n, more := 0, true; more; n += stride() {
		t.Run(fmt.Sprint(what, n), func(t *testing.T) {
			more = false
			w := newWorld(t)
			key, former := shared(w)
			w.rewrittenBefore(what)
			f := faultstore.New(w.mem)
			f.Add(faultstore.Fault{Skip: n, Count: 1, Call: func(string, string) {
				more = true
				w.besideLease(func() {
					if _, err := w.tryCollect(); err != nil {
						t.Errorf("second collector: %v", err)
					}
				})
			}})
			first := w.config()
			first.Store = f
			_, _ = collection.Collect(t.Context(), first, w.options())
			for _, u := range []string{"anne", "bert", "carl"} {
				w.check(u)
			}
			w.settle()
			w.rewritten(key, former)
		})
	}
}

// besideLease calls fn as if nobody had the lease of the collection.
func (w *world) besideLease(fn func()) {
	lease := w.mem.Bytes(repository.CollectionKey)
	w.mem.Lose(repository.CollectionKey)
	w.store, w.cache = w.mem, ""
	fn()
	if lease != nil {
		w.put(repository.CollectionKey, lease)
	}
}

// A reader has found places and read directories before a rewrite, and reads bodies after each of
// its requests.
func TestReaderBesideRewrite(t *testing.T) {
	w := newWorld(t)
	key, former := shared(w)
	objects := history.NewObjects(w.mem, 0)
	places := []history.Place{place(1, key), place(2, key), place(5, former)}
	read := func() {
		fresh := history.NewObjects(w.mem, 0) // another reader
		for _, p := range places {
			for _, o := range []*history.Objects{objects, fresh} {
				if err := history.CheckChunk(t.Context(), o, p); err != nil {
					t.Errorf("%v", err)
				}
			}
		}
	}
	read()
	f := faultstore.New(w.mem)
	w.store = f
	f.Add(faultstore.Fault{Call: func(string, string) { read() }})
	w.collect()
	w.nextNight()
	read()
	f.Clear()
	w.store = w.mem
	w.later(3 * hour)
	w.collect()
	w.rewritten(key, former)
}

// A pass rewrites no more than its limit, and the next one continues.
func TestRewriteLimit(t *testing.T) {
	w := newWorld(t)
	var packs []string
	for n := range 4 {
		packs = append(packs, w.pack(10*n+1, 10*n+2))
		w.commit("anne", map[int]string{10*n + 1: packs[n]})
	}
	w.condemn(packs...)
	w.later(25 * hour)
	o := w.options()
	o.RewriteLimit = 1
	for n := range 5 {
		o.DryRun = n == 0 || n == 4
		r, err := collection.Collect(t.Context(), w.config(), o)
		if err != nil || r.Rewritten.Packs != 1 || r.Replaced.Packs != max(0, min(n-1, 1)) {
			t.Errorf("%+v, %v", r, err)
		}
		w.check("anne")
		w.later(25 * hour)
	}
	left := slices.DeleteFunc(packs, func(k string) bool { return !w.has(k) })
	if len(left) != 2 { // one of them is rewritten
		t.Errorf("%d packs are left", len(left))
	}
}

// The note about an unused pack is right, because an earlier pass was interrupted. It is put again
// even if the first put fails: its age is that of the removal, and the pack stays on the list as long.
func TestNoteIsAsOldAsRemoval(t *testing.T) {
	w := newWorld(t)
	remove, _, _ := due(w)
	lost := func(string, string) error {
		return &objstore.Error{Op: "put", Temporary: true, Err: errors.New("no answer")}
	}
	f := faultstore.New(w.mem)
	w.store = f
	f.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "delete" && key == remove }, Before: lost})
	_, _ = w.tryCollect()
	f.Clear()
	if w.note(remove) != 0 || !w.has(remove) {
		t.Fatal("the pass was not interrupted after the note")
	}
	w.later(25 * hour)
	note, _ := history.MovedKey(remove)
	f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && key == note }, Before: lost})
	w.collect()
	f.Clear()
	if w.has(remove) {
		t.Fatal("not removed")
	}
	w.later(time.Minute)
	w.collect()
	if !w.condemned(remove) {
		t.Error("a minute after its removal, the pack is off the list")
	}
}

// pruned prepares a condemned pack. A commit before the newest checkpoint alone names message 2.
func pruned(w *world) (key, log string) {
	key = w.pack(1, 2, 3)
	w.commit("anne", map[int]string{1: key, 2: key})
	w.commit("anne", nil, expunge(2))
	w.later(time.Minute)
	w.commit("anne", nil, &history.PruneEvent{Before: w.now.Add(time.Second)})
	w.checkpoint("anne")
	w.later(8 * day)
	w.condemn(key)
	w.later(25 * hour)
	return key, history.LogKey("user/anne", 1)
}

// The second count reads a commit again that seems damaged.
func TestCommitIsReadTwice(t *testing.T) {
	w := newWorld(t)
	_, log := pruned(w)
	w.betweenCounts(func() {
		w.garbled(log, 1)
	})
	if r := w.collect(); r.Rewritten.Packs != 1 {
		t.Errorf("%+v", r)
	}
	w.check("anne")
}

// An entry that nobody needs any more when its pack is rewritten stays readable until the next night,
// for a reader of the moment that was dropped.
func TestDroppedEntryStays(t *testing.T) {
	w := newWorld(t)
	key := w.pack(1, 2, 3)
	w.commit("anne", map[int]string{1: key, 2: key})
	w.condemn(key)
	w.later(25 * hour)
	w.commit("anne", nil, expunge(2))
	w.retain("anne")
	w.collect()
	objects := history.NewObjects(w.mem, 0)
	if err := history.CheckChunk(t.Context(), objects, place(2, key)); err != nil {
		t.Error(err)
	}
	if w.nextNight(); w.has(key) || w.note(key) != 1 {
		t.Errorf("exists %v, note with %d entries", w.has(key), w.note(key))
	}
	w.check("anne")
}

// A pack is kept if a commit that named it has become unreadable, also by a note.
func TestPackOfDamagedCommitIsKept(t *testing.T) {
	for _, noted := range []bool{false, true} {
		t.Run(fmt.Sprint("noted ", noted), func(t *testing.T) {
			w := newWorld(t)
			key, log := pruned(w)
			if noted {
				former := key
				key = w.pack(1, 2, 3)
				w.noteMoved(former, key, 1, 2)
				w.mem.Lose(former)
				w.condemn(key)
				w.later(25 * hour)
			}
			if err := collection.Summarize(t.Context(), w.found("anne"), w.now); err != nil {
				t.Fatal(err)
			}
			w.betweenCounts(func() { w.garbled(log, 0) })
			r := w.collect()
			if r.Keeping != 1 || !w.has(key) {
				t.Errorf("exists %v: %+v", w.has(key), r)
			}
		})
	}
}

// garbled makes the next reads of an object wrong, with the same ETag; 0 = all.
func (w *world) garbled(key string, reads int) {
	w.store.(*faultstore.Store).Add(faultstore.Fault{Match: func(op, k string) bool { return op == "get" && k == key }, Count: reads, Garble: func(_ int64, b []byte) []byte {
		b[len(b)/3] ^= 1
		return b
	}})
}

// The second count does not believe the uses of a backup that names the pack.
func TestSecondCountBelievesNoUses(t *testing.T) {
	w := newWorld(t)
	key := w.pack(1, 2, 3)
	w.commit("anne", map[int]string{1: key})
	w.commit("anne", map[int]string{2: key})
	w.condemn(key)
	w.later(25 * hour)
	w.usesOf("anne", "log/0000000000000002.tar.zst", "")
	if r := w.collect(); r.Rewritten.Packs != 1 {
		t.Errorf("%+v", r)
	}
	if r := w.nextNight(); r.Replaced.Packs != 1 || w.note(key) != 2 {
		t.Errorf("%d entries in the note: %+v", w.note(key), r)
	}
	w.check("anne")
}

// Uses that name packs of a checkpoint are wrong, and do no harm.
func TestUsesNamePacksOfCheckpoint(t *testing.T) {
	w := newWorld(t)
	key := w.pack(1, 2)
	w.commit("anne", map[int]string{1: key})
	n := w.checkpoint("anne")
	w.condemn(key)
	w.later(25 * hour)
	w.usesOf("anne", fmt.Sprintf("checkpoints/%016d.tar.zst", n), key)
	w.collect()
	w.check("anne")
}

// usesOf puts uses in which an object names another pack, or none.
func (w *world) usesOf(user, object, pack string) {
	w.t.Helper()
	f := w.found(user)
	if err := collection.Summarize(w.t.Context(), f, w.now); err != nil {
		w.t.Fatal(err)
	}
	key := repository.BackupPrefix(f.Path) + "uses.ndjson.zst"
	dec, err := zstd.NewReader(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer dec.Close()
	text, err := dec.DecodeAll(w.mem.Bytes(key), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []byte
	counts := bytes.Contains(text, []byte(`"entries":`))
	for line := range bytes.Lines(text) {
		use := map[string]any{}
		if err := json.Unmarshal(line, &use); err != nil {
			w.t.Fatal(err)
		}
		if use["object"] == object {
			delete(use, "packs")
			delete(use, "entries")
			if pack != "" {
				use["packs"] = []string{pack[len("packs/ab/"):][:64]}
			}
			if pack != "" && counts {
				use["entries"] = []int{1}
			}
		}
		b, err := json.Marshal(use)
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(append(out, b...), '\n')
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(key, enc.EncodeAll(out, nil))
}

// The new packs are damaged or lost before the old one is removed: the entries are copied again.
func TestNewPackIsProvedAgain(t *testing.T) {
	for name, damage := range map[string]func(*world, string){
		"lost":    func(w *world, key string) { w.mem.Lose(key) },
		"damaged": func(w *world, key string) { w.mem.Flip(key, 30) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			key := w.pack(1, 2, 3)
			w.commit("anne", map[int]string{1: key})
			w.condemn(key)
			w.later(25 * hour)
			w.collect()
			for _, k := range w.packs() {
				if k != key {
					damage(w, k)
				}
			}
			w.later(21 * hour)
			if r := w.collect(); !w.has(key) || r.Rewritten.Packs != 1 || r.Replaced.Packs != 0 {
				t.Errorf("exists %v: %+v", w.has(key), r)
			}
			w.later(21 * hour)
			w.collect()
			w.check("anne")
			if w.has(key) {
				t.Error("the pack still exists")
			}
		})
	}
}
