package collection_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// inStore returns the backup of a user as the tools find it.
func (w *world) inStore(user string) *repository.Found {
	f := w.found(user)
	f.Partition = w.config()
	return f
}

func (w *world) share(user string) collection.Share {
	w.t.Helper()
	s, err := collection.MeasureShare(w.t.Context(), w.inStore(user), w.cache)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// at returns the pack where a place leads to.
func (w *world) at(p history.Place) string {
	w.t.Helper()
	for !w.has(p.Object) {
		now, err := history.ResolvePlace(w.t.Context(), w.mem, p)
		if errors.Is(err, history.ErrNoPlace) {
			return ""
		}
		if err != nil {
			w.t.Fatal(err)
		}
		p = now
	}
	return p.Object
}

// bruteShare reads everything that others name, and returns the bytes and the backups.
func (w *world) bruteShare(user string) (n int64, backups int) {
	w.t.Helper()
	mine := map[history.ChunkID]repository.PackedBody{}
	err := w.found(user).EachPackedBody(w.t.Context(), func(b repository.PackedBody) error {
		mine[b.Chunk] = b
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	others, by := map[string]bool{}, map[string]bool{}
	for _, key := range w.mem.Keys("") {
		rest, ok := strings.CutPrefix(key, "backups/user/")
		if !ok {
			if rest, ok = strings.CutPrefix(key, "set-aside/user/"); !ok {
				continue
			}
		}
		owner, _, _ := strings.Cut(rest, "/")
		places := history.ObjectPlaces
		switch {
		case owner == user:
			continue
		case strings.Contains(rest, "/log/"):
			places = history.LogPlaces
		case !strings.Contains(rest, "/records/"):
			continue
		}
		for p, err := range places(w.t.Context(), w.mem, key) {
			if err != nil {
				w.t.Fatal(err)
			}
			if !strings.HasPrefix(p.Object, "packs/") {
				continue
			}
			at := w.at(p)
			others[fmt.Sprint(at, p.Chunk)] = true
			if b, ok := mine[p.Chunk]; ok && b.Pack == at {
				by[owner] = true
			}
		}
	}
	for _, b := range mine {
		if b.Pack != "" && others[fmt.Sprint(b.Pack, b.Chunk)] {
			n += b.Bytes
		}
	}
	return n, len(by)
}

// Random backups share packs, also through notes: the share is that of a count of everything.
func TestShare(t *testing.T) {
	users := []string{"anne", "bert", "carl", "dora"}
	some := 0
	for seed := range uint64(4 / stride() * 2) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		w := newWorld(t)
		next := 1
		for range 6 {
			var numbers []int
			for range 1 + rnd.IntN(5) {
				numbers = append(numbers, next)
				next++
			}
			key := w.pack(numbers...)
			for _, u := range users {
				in := map[int]string{}
				for _, n := range numbers {
					if rnd.IntN(3) == 0 {
						in[n] = key
					}
				}
				w.commit(u, in)
				if rnd.IntN(3) == 0 {
					w.checkpoint(u)
				}
			}
			w.commit("anne", map[int]string{next: ""})
			next++
		}
		again := w.packs()[0] // two of them name a second copy
		w.commit("dora", map[int]string{w.entries(again)[0]: w.pack(w.entries(again)...)})
		w.later(8 * day)
		w.condemn(w.packs()[1], w.packs()[3])
		w.later(25 * hour)
		w.collectFor(4)
		for _, u := range users {
			got := w.share(u)
			want, by := w.bruteShare(u)
			if got.Bytes != want || got.Backups != by || got.Unreadable != 0 || got.Counted.IsZero() {
				t.Errorf("seed %d, %s: %+v, want %d bytes by %d backups", seed, u, got, want, by)
			}
			if want > 0 {
				some++
			}
		}
		if len(w.mem.Keys("moved/")) == 0 {
			t.Error("no pack was rewritten: this test no longer covers its case")
		}
	}
	if some < 4 {
		t.Errorf("only %d backups share anything", some)
	}
}

// Only backups that use the same packs are read, and only their objects that name these packs.
func TestShareRequests(t *testing.T) {
	w := newWorld(t)
	one, two := w.pack(1, 2), w.pack(3, 4)
	w.commit("anne", map[int]string{1: one})
	for n := range 20 {
		w.commit("bert", map[int]string{100 + n: ""})
	}
	w.commit("bert", map[int]string{1: one})
	for range 20 {
		w.commit("carl", map[int]string{3: two})
	}
	w.collect()
	w.count.Reset()
	got := w.share("anne")
	gets := w.count.Snapshot()["get"].Requests
	if got.Bytes == 0 || got.Backups != 1 || gets > 12 {
		t.Errorf("%+v, %d requests", got, gets)
	}
	if got := w.share("carl"); got.Bytes != 0 || got.Backups != 0 {
		t.Errorf("carl: %+v", got)
	}
}

// A copy of the backup that was set aside is no other backup; one of another user is.
func TestShareBesideSetAside(t *testing.T) {
	w := newWorld(t)
	key := w.pack(1, 2)
	for _, u := range []string{"anne", "bert"} {
		w.commit(u, map[int]string{1: key})
	}
	for _, u := range []string{"anne", "bert"} {
		for _, k := range w.mem.Keys("backups/user/" + u + "/") {
			aside := strings.Replace(k, "backups/user/"+u, "set-aside/user/"+u+"/20270301T000000Z", 1)
			w.mem.Copy(k, aside)
			if u == "bert" {
				w.mem.Lose(k)
			}
		}
	}
	w.collect()
	if got := w.share("anne"); got.Backups != 1 || got.Bytes == 0 {
		t.Errorf("with bert: %+v", got)
	}
	for _, k := range w.mem.Keys("set-aside/user/bert/") {
		w.mem.Lose(k)
	}
	w.mem.Lose(collection.ResultKey)
	w.collect()
	if got := w.share("anne"); got.Backups != 0 || got.Bytes != 0 {
		t.Errorf("without bert: %+v", got)
	}
}

// A share is unknown if nothing was counted here, or if that cannot be read; a backup that cannot be
// read is named.
func TestShareUnknown(t *testing.T) {
	w := newWorld(t)
	key := w.pack(1, 2)
	for _, u := range []string{"anne", "bert", "carl"} {
		w.commit(u, map[int]string{1: key})
	}
	if _, err := collection.MeasureShare(t.Context(), w.inStore("anne"), w.cache); !errors.Is(err, collection.ErrNotCounted) {
		t.Errorf("before a pass: %v", err)
	}
	if _, err := collection.MeasureShare(t.Context(), w.inStore("anne"), ""); !errors.Is(err, collection.ErrNotCounted) {
		t.Errorf("without a cache: %v", err)
	}
	w.collect()
	whole := w.share("anne")
	w.mem.Flip(history.LogKey("user/carl", 1), 40)
	got := w.share("anne")
	if got.Bytes != whole.Bytes || got.Unreadable != 1 || len(got.Unread) != 1 || got.Unread[0].Key != "backups/user/carl" {
		t.Errorf("carl is damaged: %+v, %+v before", got, whole)
	}
	w.mem.Flip(history.LogKey("user/carl", 1), 40)
	caches, err := filepath.Glob(filepath.Join(w.cache, "*.uses"))
	if err != nil || len(caches) != 1 {
		t.Fatal(caches, err)
	}
	b, err := os.ReadFile(caches[0])
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(b); n += 1 + 2*stride() {
		bad := bytes.Clone(b)
		bad[n] ^= 0x41
		if n%2 == 0 {
			bad = b[:n]
		}
		if err := os.WriteFile(caches[0], bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := collection.MeasureShare(t.Context(), w.inStore("anne"), w.cache); err == nil && got.Bytes != whole.Bytes {
			t.Fatalf("damage at byte %d of %d: %+v and no error", n, len(b), got)
		}
	}
}

// Uses that are damaged, or of another version of an object, are not believed.
func TestShareWithoutUses(t *testing.T) {
	w := newWorld(t)
	key := w.pack(1, 2)
	w.commit("anne", map[int]string{1: key, 2: key})
	w.commit("bert", map[int]string{3: ""})
	w.commit("bert", map[int]string{1: key})
	w.collect()
	uses := collection.UsesKey("user/bert")
	if !w.has(uses) {
		t.Fatal("no uses: this test no longer covers its case")
	}
	whole, b := w.share("anne"), w.mem.Bytes(uses)
	for n := 0; n < len(b); n += 1 + 2*stride() {
		bad := bytes.Clone(b)
		bad[n] ^= 0x41
		w.put(uses, bad)
		if got := w.share("anne"); got.Bytes != whole.Bytes || got.Unreadable != 0 {
			t.Fatalf("damage at byte %d of %d: %+v, %+v before", n, len(b), got, whole)
		}
	}
	if _, err := w.mem.Put(t.Context(), uses, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	w.commit("bert", map[int]string{2: key})
	if got := w.share("anne"); got.Bytes <= whole.Bytes {
		t.Errorf("after another commit: %+v, %+v before", got, whole)
	}
}
