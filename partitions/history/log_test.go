package history

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
)

// trace records the calls of the store.
func trace(w *writer) *[]string {
	var mu sync.Mutex // commits are read ahead
	var calls []string
	w.store.(*memstore.Store).SetFaults(func(op, key string) error {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, op+" "+strings.TrimPrefix(key, "backups/user/anne/"))
		return nil
	}, nil)
	return &calls
}

func TestNewest(t *testing.T) {
	w := newWriter(t)
	for range 40 {
		w.commit()
	}
	for _, tt := range []struct{ exists, from, want uint64 }{{0, 0, 0}, {1, 0, 1}, {40, 0, 40}, {40, 39, 40}, {40, 40, 40}, {40, 7, 40}, {33, 1, 33}, {32, 1, 32}} {
		for n := tt.exists + 1; n <= 40; n++ {
			w.delete(LogKey(anne, n))
		}
		calls := trace(w)
		got, err := w.log().Newest(t.Context(), tt.from)
		if err != nil || got != tt.want {
			t.Errorf("from %d of %d: %d, %v", tt.from, tt.exists, got, err)
		}
		if want := []string{"list log/"}; !slices.Equal(*calls, want) {
			t.Errorf("from %d of %d: calls %q, want %q", tt.from, tt.exists, *calls, want)
		}
		w = newWriter(t)
		for range 40 {
			w.commit()
		}
	}
}

// After a merge, a commit without its own object is not the end of the log.
func TestNewestAfterMerge(t *testing.T) {
	w := newWriter(t)
	for range 20 {
		w.commit()
	}
	w.merge(1, 15, nil)
	for _, from := range []uint64{0, 3, 14, 15, 16, 20} {
		if got, err := w.log().Newest(t.Context(), from); err != nil || got != 20 {
			t.Errorf("from %d: %d, %v", from, got, err)
		}
	}
	if _, err := w.log().Newest(t.Context(), 21); !errors.Is(err, ErrAbsent) {
		t.Errorf("from a missing commit: %v", err)
	}
}

func numbers(t *testing.T, w *writer, from, to uint64) (out []uint64, err error) {
	t.Helper()
	for c, err := range w.log().Commits(t.Context(), from, to) {
		if err != nil {
			return out, err
		}
		out = append(out, c.Header().Number)
	}
	return out, nil
}

func sequence(from, to uint64) (out []uint64) {
	for n := from; n <= to; n++ {
		out = append(out, n)
	}
	return out
}

func TestCommitsThroughSegments(t *testing.T) {
	w := newWriter(t)
	for n := range 20 {
		w.commit(mailbox("a", fmt.Sprintf("user.anne.%d", n)))
	}
	w.merge(1, 4, nil)
	w.merge(5, 11, nil)
	for _, r := range [][2]uint64{{1, 20}, {1, 4}, {3, 7}, {5, 5}, {11, 12}, {12, 20}, {4, 5}} {
		got, err := numbers(t, w, r[0], r[1])
		if err != nil || !slices.Equal(got, sequence(r[0], r[1])) {
			t.Errorf("%v: %v, %v", r, got, err)
		}
	}
	calls := trace(w)
	if _, err := numbers(t, w, 1, 20); err != nil {
		t.Fatal(err)
	}
	lists := slices.DeleteFunc(slices.Clone(*calls), func(c string) bool { return !strings.HasPrefix(c, "list") })
	if len(lists) != 1 || len(*calls) != 1+2+1+9 { // only the first segment is found by a missing commit
		t.Errorf("calls: %s", strings.Join(*calls, "\n"))
	}
	// A segment is merged into a larger one.
	w.merge(1, 11, nil)
	if got, err := numbers(t, w, 6, 20); err != nil || len(got) != 15 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestSegmentKeepsEventsAndPlaces(t *testing.T) {
	w := newWriter(t)
	for n := range 6 {
		w.commitWith(func(b *Builder) {
			b.Place(Place{Chunk: ChunkID{byte(n)}, Object: "packs/ab/ab.tar.zst", Entry: strings.Repeat("a", 40) + ".eml"})
		}, mailbox("a", fmt.Sprintf("user.anne.%d", n)), &CompleteEvent{UniqueID: "a"})
	}
	read := func() (out []string) {
		for c, err := range w.log().Commits(t.Context(), 1, 6) {
			if err != nil {
				t.Fatal(err)
			}
			if c.Header().Number == 3 {
				continue // skips events and places
			}
			for e, err := range c.Events() {
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, toJSON(t, e))
				if c.Header().Number == 4 {
					break
				}
			}
			for p, err := range c.Places() {
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, toJSON(t, p))
			}
		}
		return out
	}
	want := read()
	w.merge(2, 5, nil)
	if got := read(); !slices.Equal(got, want) || len(got) != 14 {
		t.Errorf("have %s\nwant %s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSegmentRefusesInlineBodies(t *testing.T) {
	w := newWriter(t)
	body := text(1, 100)
	w.commitWith(func(b *Builder) {
		b.Place(Place{Chunk: message(body).Chunks[0], Object: ".", Entry: message(body).GUID.String() + ".eml"})
		b.Inline(message(body).GUID.String()+".eml", body)
	})
	for c, err := range w.log().Commits(t.Context(), 1, 1) {
		if err != nil {
			t.Fatal(err)
		}
		err := NewSegmentBuilder(anne, w.options()).Add(c, nil)
		if err == nil || !strings.Contains(err.Error(), "still holds the body") {
			t.Errorf("a segment without the inline body: %v", err)
		}
	}
}

func TestInvalidChains(t *testing.T) {
	line := func(n int, prev string, at time.Time) string {
		return fmt.Sprintf(`{"version":1,"backup":"user/anne","number":%d,"prev":%q,"time":%q}`+"\n", n, prev, at.Format(time.RFC3339))
	}
	for _, tt := range []struct {
		name  string
		forge func(w *writer)
		is    error
		want  string
	}{
		{"another history", func(w *writer) { w.forge(LogKey(anne, 3), line(3, strings.Repeat("0", 64), noon.Add(time.Hour)), "") }, ErrCorrupt, "follows a commit with hash"},
		{"time goes back", func(w *writer) {
			two := readHash(w, 2)
			w.forge(LogKey(anne, 3), line(3, two, noon.Add(-time.Hour)), "")
		}, ErrCorrupt, "is older than commit 2"},
		{"first with a prev", func(w *writer) { w.forge(LogKey(anne, 1), line(1, strings.Repeat("0", 64), noon), "") }, ErrCorrupt, "commit 1 names a previous commit"},
		{"changed", func(w *writer) { w.forge(LogKey(anne, 2), line(2, readHash(w, 1), noon.Add(2*time.Minute)), "") }, ErrCorrupt, "commit 3 follows"},
		{"gap", func(w *writer) { w.delete(LogKey(anne, 3)) }, ErrAbsent, "commit 3 of user/anne"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWriter(t)
			for range 4 {
				w.commit(mailbox("a", "user.anne"))
			}
			tt.forge(w)
			_, err := numbers(t, w, 1, 4)
			if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), LogPrefix(anne)) {
				t.Errorf("have error %v, want one with %q", err, tt.want)
			}
			if _, err := Load(t.Context(), w.store, anne, Moment{}); !errors.Is(err, tt.is) {
				t.Errorf("loaded: %v", err)
			}
		})
	}
}

func readHash(w *writer, n uint64) (sum string) {
	w.t.Helper()
	err := ReadCommit(w.t.Context(), w.store, anne, n, func(c *CommitReader) (err error) {
		sum, err = c.Hash()
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return sum
}

func TestKeys(t *testing.T) {
	if k := LogKey(anne, 7); k != "backups/user/anne/log/0000000000000007.tar.zst" {
		t.Error(k)
	}
	for key, want := range map[string][2]uint64{
		LogKey(anne, 7):                              {7, 7},
		SegmentKey(anne, 7, 12):                      {7, 12},
		LogPrefix(anne) + "7.tar.zst":                {},
		LogPrefix(anne) + "0000000000000007":         {},
		LogPrefix(anne) + "000000000000000x.tar.zst": {},
		LogPrefix(anne) + "0000000000000000.tar.zst": {},
		SegmentKey(anne, 12, 7):                      {},
		LogKey("user/bob", 7):                        {},
		CheckpointKey(anne, 7):                       {},
	} {
		from, to, ok := ParseLogKey(anne, key)
		if [2]uint64{from, to} != want || ok != (want[0] > 0) {
			t.Errorf("%s: %d, %d, %t", key, from, to, ok)
		}
	}
	if n, ok := ParseCheckpointKey(anne, CheckpointKey(anne, 9)); n != 9 || !ok {
		t.Error(n, ok)
	}
}
