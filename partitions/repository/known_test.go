package repository

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
)

// knownWorld is a partition that is browsed again and again.
type knownWorld struct {
	t    *testing.T
	s    *memstore.Store
	dir  string
	gets atomic.Int64
}

func newKnownWorld(t *testing.T, users ...string) *knownWorld {
	w := &knownWorld{t: t, s: memstore.New(time.Now), dir: t.TempDir()}
	for _, u := range users {
		w.create(u)
	}
	w.s.SetFaults(func(op, _ string) error {
		if op == "get" || op == "stat" {
			w.gets.Add(1)
		}
		return nil
	}, nil)
	return w
}

func (w *knownWorld) put(key string, b []byte) {
	w.t.Helper()
	if _, err := w.s.Put(w.t.Context(), key, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// create puts a backup of a user, in the place of another one.
func (w *knownWorld) create(user string) {
	w.t.Helper()
	n := UserName(user)
	b, err := json.Marshal(BackupInfo{Version: 1, Name: n.Full, Kind: n.Kind, Created: time.Unix(1, 0).UTC(), ID: NewID()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(BackupInfoKey(n.Path()), b)
	w.put(BackupPrefix(n.Path())+"log/0000000000000001.tar.zst", []byte("x"))
}

// browse returns the names and ids of all backups, and the number of GETs. each is called for them.
func (w *knownWorld) browse(each func(*Found)) (all []string, gets int) {
	w.t.Helper()
	w.gets.Store(0)
	open := func(p Config) *Known {
		k, err := OpenKnown(w.dir, p)
		if err != nil {
			w.t.Fatal(err)
		}
		return k
	}
	for f, err := range BrowseKnown(w.t.Context(), []Config{{Name: "p", Location: "memory", Store: w.s}}, open) {
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, f.Info.Name+" "+f.Info.ID)
		if each != nil {
			each(f)
		}
	}
	return all, int(w.gets.Load())
}

// An unchanged backup costs no request. A new one costs one request, also if it
// has replaced another.
func TestKnown(t *testing.T) {
	w := newKnownWorld(t, "anne", "anne-2", "bert", "carl.x")
	first, gets := w.browse(nil)
	if gets != 4 {
		t.Errorf("%d GETs for 4 backups that are not known", gets)
	}
	if again, gets := w.browse(nil); gets != 0 || !slices.Equal(again, first) {
		t.Errorf("%d GETs: %q, want %q", gets, again, first)
	}
	w.create("bert")
	w.create("bill")
	w.put(BackupPrefix("user/anne")+"log/0000000000000002.tar.zst", []byte("x"))
	second, gets := w.browse(nil)
	if gets != 2 || len(second) != 5 || slices.Contains(second, first[2]) {
		t.Errorf("%d GETs for 2 backups that are not known: %q", gets, second)
	}
	for _, key := range w.s.Keys("backups/user/anne/") {
		w.s.Lose(key)
	}
	rest := slices.DeleteFunc(second, func(name string) bool { return strings.HasPrefix(name, "anne ") })
	if third, gets := w.browse(nil); gets != 0 || len(rest) != 4 || !slices.Equal(third, rest) {
		t.Errorf("%d GETs: %q", gets, third)
	}
	if files, err := os.ReadDir(w.dir); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

// When the first commit was made is remembered for a version of the first object of the log.
func TestKnownMade(t *testing.T) {
	w := newKnownWorld(t, "anne")
	made := time.Date(2027, 1, 2, 3, 4, 5, 6, time.UTC)
	first := func(f *Found) objstore.Info { return f.listed.keys[len(f.listed.keys)-1] }
	w.browse(func(f *Found) {
		if at, ok := f.FirstMade(first(f)); ok {
			t.Errorf("known at once: %v", at)
		}
		f.RememberMade(first(f), made)
	})
	for range 2 { // the second time, nobody has read it again
		w.browse(func(f *Found) {
			if at, ok := f.FirstMade(first(f)); !ok || !at.Equal(made) {
				t.Errorf("%v, %v", at, ok)
			}
		})
	}
	w.put("backups/user/anne/log/0000000000000001.tar.zst", []byte("y"))
	w.browse(func(f *Found) {
		if at, ok := f.FirstMade(first(f)); ok {
			t.Errorf("known of another version: %v", at)
		}
	})
}

// A run that ends early leaves the facts of the last one. An unreadable backup does not hide the others.
func TestKnownOfPart(t *testing.T) {
	w := newKnownWorld(t, "anne", "bert", "carl")
	want, _ := w.browse(nil)
	k, err := OpenKnown(w.dir, Config{Location: "memory"})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range BrowseKnown(t.Context(), []Config{{Location: "memory", Store: w.s}}, func(Config) *Known { return k }) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if got, gets := w.browse(nil); gets != 0 || !slices.Equal(got, want) {
		t.Errorf("%d GETs: %q", gets, got)
	}
	w.put("backups/user/bert/backup.json", []byte("damaged"))
	for range 2 {
		w.gets.Store(0)
		faults := 0
		for _, err := range BrowseKnown(t.Context(), []Config{{Location: "memory", Store: w.s}}, func(p Config) *Known { k, _ := OpenKnown(w.dir, p); return k }) {
			if err != nil {
				faults++
			}
		}
		if faults != 1 || w.gets.Load() != 1 {
			t.Errorf("%d faults, %d GETs", faults, w.gets.Load())
		}
	}
}

// A run that ends early remembers the backups that it has seen, beside what the run before has remembered
// of the others.
func TestKnownOfEarlyEnd(t *testing.T) {
	w := newKnownWorld(t, "anne", "bert", "carl", "dora")
	part := func(most int) {
		t.Helper()
		open := func(p Config) *Known {
			k, err := OpenKnown(w.dir, p)
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		for _, err := range BrowseKnown(t.Context(), []Config{{Location: "memory", Store: w.s}}, open) {
			if err != nil {
				t.Error(err)
			}
			if most--; most < 0 {
				break
			}
		}
	}
	part(2)
	want, gets := w.browse(nil)
	if gets != 2 {
		t.Errorf("%d GETs after a run that has seen 2 of 4 backups", gets)
	}
	w.create("anne")
	w.create("carl")
	part(2) // anne is new, carl was not reached
	w.gets.Store(0)
	got, gets := w.browse(nil)
	if gets != 1 || len(got) != 4 || got[1] != want[1] || got[3] != want[3] {
		t.Errorf("%d GETs, only one backup is unknown: %q, before %q", gets, got, want)
	}
	part(0)
	if _, gets := w.browse(nil); gets != 0 {
		t.Errorf("%d GETs after a run that has seen nothing", gets)
	}
	if files, err := os.ReadDir(w.dir); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

// Whatever is damaged in the file, each backup has its own name and id.
func TestKnownDamaged(t *testing.T) {
	w := newKnownWorld(t, "anne", "bert", "carl")
	want, _ := w.browse(nil)
	files, err := filepath.Glob(filepath.Join(w.dir, "*.known"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(whole); off += 11 {
		for name, b := range map[string][]byte{
			"flipped": append(append(slices.Clone(whole[:off]), whole[off]^1), whole[off+1:]...),
			"cut":     whole[:off],
		} {
			if err := os.WriteFile(files[0], b, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, _ := w.browse(nil); !slices.Equal(got, want) {
				t.Fatalf("%s at %d: %q, want %q", name, off, got, want)
			}
		}
	}
	// Lines in another order are only not found.
	lines := bytes.SplitAfter(whole, []byte("\n"))
	slices.Reverse(lines[1:4])
	if err := os.WriteFile(files[0], bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, gets := w.browse(nil); gets != 2 || !slices.Equal(got, want) {
		t.Errorf("%d GETs: %s", gets, fmt.Sprint(got))
	}
}
