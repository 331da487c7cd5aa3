package erasure_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
)

var everyRequest = flag.Bool("erasure.every", false, "stop at every request, instead of at some")

// stride is how many requests a test skips between two points.
func stride() int {
	switch {
	case *everyRequest:
		return 1
	case raceEnabled:
		return 23
	}
	return 5
}

// A writer of another user finds a message of the erased backup in its index, checks the list of
// condemned packs at any point of the erasure, and commits at once, or as late as it may. The message
// stays readable for that user.
func TestWriterBeside(t *testing.T) {
	for _, late := range []time.Duration{0, 59 * time.Minute} {
		for n, more := 0, true; more; n += stride() {
			t.Run(fmt.Sprint(late, n), func(t *testing.T) {
				more = false
				w := newWorld(t)
				shared := w.pack(1, 105)
				w.commit("anne", map[int]string{1: shared, 105: shared, 4: ""})
				w.commit("bert", map[int]string{104: ""})
				commit := func(condemned bool) {
					key := shared
					if condemned {
						key = w.pack(105) // the client sends it
					}
					w.commit("bert", map[int]string{105: key})
				}
				f := faultstore.New(w.mem)
				w.store = f
				checked, condemned := false, false
				f.Add(faultstore.Fault{Skip: n, Count: 1, Call: func(string, string) {
					more, checked, condemned = true, true, w.condemned(shared)
					if late == 0 {
						commit(condemned)
					}
				}})
				w.erase()
				w.store = w.mem
				if checked && late > 0 {
					w.later(late)
					commit(condemned)
				}
				w.later(erasure.Grace + time.Minute - late)
				w.finish()
				if checked {
					w.check("bert", 104, 105)
				}
				w.later(day + hour)
				w.finish()
				if left := w.needles(); len(left) > 0 {
					t.Errorf("the needle is in %q", left)
				}
			})
		}
	}
}

// A collection begins at any point of an erasure: it finds the lease taken, or does no harm.
func TestCollectorBeside(t *testing.T) {
	for n, more := 0, true; more; n += stride() {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			more = false
			w := newWorld(t)
			w.content()
			w.later(8 * day)
			f := faultstore.New(w.mem)
			w.store = f
			f.Add(faultstore.Fault{Skip: n, Count: 1, Call: func(string, string) {
				more = true
				o := w.collectOptions()
				o.Lock.Wait = false
				c := w.config()
				c.Store = w.mem
				_, _ = collection.Collect(t.Context(), c, o)
			}})
			_, err := w.tryErase()
			w.store = w.mem
			if err != nil {
				w.later(hour)
				w.erase()
			}
			w.later(erasure.Grace + time.Minute)
			w.finish()
			w.gone()
		})
	}
}

// An erasure begins at any point of a collection that rewrites packs of the backup.
func TestEraseBesideCollector(t *testing.T) {
	for n, more := 0, true; more; n += stride() {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			more = false
			w := newWorld(t)
			private, mixed := w.content()
			w.condemn(private, mixed)
			w.later(2 * day)
			f := faultstore.New(w.mem)
			f.Add(faultstore.Fault{Skip: n, Count: 1, Call: func(string, string) {
				more = true
				s, err := erasure.Look(t.Context(), w.parts(), anneName, w.here)
				if err != nil {
					t.Error(err)
					return
				}
				o := w.options()
				o.Lock.Wait = false
				_, _ = erasure.Erase(t.Context(), s, o)
			}})
			c := w.config()
			c.Store = f
			_, _ = collection.Collect(t.Context(), c, w.collectOptions())
			w.later(hour)
			w.erase()
			for range 2 {
				w.later(day + hour)
				w.finish()
			}
			w.gone()
		})
	}
}
