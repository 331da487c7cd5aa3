package erasure_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// again puts objects again, as a copy of the bucket does: they have a new time.
func (w *past) again(chosen func(key string) bool) {
	w.t.Helper()
	for _, key := range w.mem.Keys("") {
		if chosen(key) {
			w.put(key, w.mem.Bytes(key))
		}
	}
}

// nights does what compact does for some nights. Then no object has the needle, and the erasure is complete.
func (w *past) nights(n int) {
	w.t.Helper()
	for range n {
		w.finish()
		w.later(15 * hour)
	}
	w.forgotten()
	for _, key := range w.needles() {
		if w.has(key) && bytes.Contains(plain(w.mem.Bytes(key)), []byte(needle)) {
			w.t.Errorf("the needle is in %s", key)
		}
	}
	if open := w.open(); len(open) > 0 {
		w.t.Errorf("%+v", open[0])
	}
}

func isInfo(key string) bool { return strings.HasSuffix(key, "/backup.json") }

// The bucket is copied in two passes: the first one has copied backup.json long before the other objects.
func TestHistoryCopiedInTwoPasses(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	w.later(6 * hour)
	w.again(isInfo)
	w.later(14 * hour)
	w.again(func(key string) bool { return !isInfo(key) })
	w.later(hour)
	w.nights(4)
}

// The objects of records/ are copied between the first sweep and the next ones, in any order.
func TestHistoryCopiedAfterSweep(t *testing.T) {
	for _, kind := range []string{"/records/", "/checkpoints/", "/log/", "backup.json", "erased/"} {
		t.Run(strings.Trim(kind, "/"), func(t *testing.T) {
			w := newPast(t)
			w.mustHistory()
			w.later(14*hour - time.Minute)
			w.again(func(string) bool { return true })
			w.later(hour)
			w.finish()
			w.later(15 * hour)
			w.again(func(key string) bool { return strings.Contains(key, kind) })
			w.later(time.Minute)
			w.nights(4)
		})
	}
}

// The list of old blocks is lost or damaged between two sweeps. The next one makes it again.
func TestHistoryBlocksListLost(t *testing.T) {
	for name, spoil := range map[string]func(*past, string){
		"lost":    func(w *past, key string) { w.mem.Lose(key) },
		"damaged": func(w *past, key string) { w.put(key, []byte("damaged")) },
		"empty":   func(w *past, key string) { w.put(key, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newPast(t)
			w.mustHistory()
			w.later(14 * hour)
			w.again(func(string) bool { return true })
			w.later(hour)
			w.finish()
			key := repository.ErasureBlocksKey(w.only().ID)
			if !w.has(key) {
				t.Fatal("there is no list")
			}
			spoil(w, key)
			w.later(15 * hour)
			w.nights(4)
			if w.has(key) {
				t.Error("the list is left")
			}
		})
	}
}

// Objects were put while the clock of the store was years ahead. The erasure ends nevertheless, beside a daemon.
func TestHistoryTimesInFuture(t *testing.T) {
	for _, kind := range []string{"/records/", "/checkpoints/", "backup.json"} {
		t.Run(strings.Trim(kind, "/"), func(t *testing.T) {
			w := newPast(t)
			w.mustHistory()
			now := w.now
			w.now = now.AddDate(5, 0, 0)
			w.again(func(key string) bool { return strings.Contains(key, kind) })
			w.now = now.Add(15 * hour)
			for n := 300; n < 304; n++ {
				w.finish()
				w.later(14 * hour)
				w.commit("bert", map[int]string{n: ""})
				w.checkpoint("bert")
				w.later(hour)
			}
			if open := w.open(); len(open) > 0 {
				t.Errorf("%+v", open[0])
			}
			for _, key := range w.needles() {
				if w.has(key) && bytes.Contains(plain(w.mem.Bytes(key)), []byte(needle)) {
					t.Errorf("the needle is in %s", key)
				}
			}
		})
	}
}
