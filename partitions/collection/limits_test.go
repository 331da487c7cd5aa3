package collection_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// twoCondemned prepares two condemned packs that are used, in order of key.
func twoCondemned(w *world) (a, b string) {
	packs := []string{w.pack(1, 2), w.pack(1, 2)}
	slices.Sort(packs)
	w.commit("anne", map[int]string{1: packs[0]})
	w.commit("bert", map[int]string{1: packs[1]})
	w.condemn(packs...)
	w.later(25 * hour)
	return packs[0], packs[1]
}

// A pack that cannot be rewritten leaves the limit of each pass to the others.
func TestKeptPackLeavesLimit(t *testing.T) {
	w := newWorld(t)
	bad, good := twoCondemned(w)
	w.mem.Truncate(bad, 100)
	o := w.options()
	o.RewriteLimit = 10
	r, err := collection.Collect(t.Context(), w.config(), o)
	if err != nil || r.Keeping != 1 || r.Rewritten.Packs != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if w.nextNight(); w.has(good) {
		t.Error("the pack still exists")
	}
	w.check("bert")
}

// A pack that can never be deleted does not keep the others, whether it is used or not.
func TestPackThatCannotBeDeleted(t *testing.T) {
	for _, used := range []bool{true, false} {
		w := newWorld(t)
		stuck, other := twoCondemned(w)
		if !used {
			for _, u := range []string{"anne", "bert"} {
				w.commit(u, nil, expunge(1))
				w.retain(u)
			}
			loseAll(w, "backups/user/anne/records/")
			loseAll(w, "backups/user/bert/records/")
			w.checkpoint("anne")
			w.checkpoint("bert")
		}
		f := faultstore.New(w.mem)
		w.store = f
		if used {
			w.collect() // rewrites both
			w.later(25 * hour)
		}
		f.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "delete" && key == stuck }, Before: func(string, string) error {
			return &objstore.Error{Op: "delete", Key: stuck, Err: errors.New("forbidden")}
		}})
		for night := range 2 {
			r := w.collect()
			if n := r.Replaced.Packs + r.Removed.Packs; n != 1-night || used != (r.Removed.Packs == 0) && night == 0 {
				t.Errorf("used %v: %+v", used, r)
			}
			if r.Keeping != 1 || r.Kept[0].Key != stuck || !w.has(stuck) || w.has(other) {
				t.Errorf("used %v: %+v", used, r)
			}
			w.later(25 * hour)
		}
		w.check("anne")
		w.check("bert")
	}
}

// A full disk of this host ends the pass. The pack is not to blame.
func TestLocalDiskIsFull(t *testing.T) {
	w := newWorld(t)
	random := rand.NewChaCha8([32]byte{})
	large := make([]byte, 17<<20)
	_, _ = random.Read(large)
	p := pack.NewWriter(nil, pack.Options{})
	entry := pack.MessageName(sha1.Sum(large))
	if err := p.Put(entry, large); err != nil {
		t.Fatal(err)
	}
	b, err := p.Finish()
	if err != nil {
		t.Fatal(err)
	}
	key := history.PackKey(sha256.Sum256(b))
	w.put(key, b)
	w.commitPlace("anne", history.Place{Chunk: sha256.Sum256(large), Object: key, Entry: entry.String()})
	w.condemn(key)
	w.later(25 * hour)
	w.betweenCounts(func() { t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "absent")) })
	r, err := w.tryCollect()
	if !errors.Is(err, repository.ErrTemporaryFile) || r.Keeping > 0 || !w.has(key) {
		t.Errorf("%+v, %v", r, err)
	}
}

// If the random bytes of packs repeat, a copy has the key of the pack that it replaces.
func TestCopyHasSameKey(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	o.Pack.Random = bytes.NewReader(make([]byte, 1<<10))
	p := pack.NewWriter(nil, pack.Options{Random: bytes.NewReader(make([]byte, 16))})
	if err := p.Put(pack.MessageName(message(1).GUID), body(1)); err != nil {
		t.Fatal(err)
	}
	b, err := p.Finish()
	if err != nil {
		t.Fatal(err)
	}
	key := history.PackKey(sha256.Sum256(b))
	w.put(key, b)
	w.commit("anne", map[int]string{1: key})
	w.condemn(key)
	w.later(25 * hour)
	r, err := collection.Collect(t.Context(), w.config(), o)
	if err != nil || r.Keeping != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	w.check("anne")
}
