package maintenance_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/observe"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// Each day becomes a segment, its bodies are in packs, and the history stays the same. The
// last days stay as they are, and another run has nothing to do.
func TestMerge(t *testing.T) {
	w := newWorld(t)
	anne := w.backup("anne")
	anne.days(6)
	before, err := history.Load(t.Context(), w.memory, anne.path, history.Moment{FromLog: true})
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	var deleted []string
	w.memory.SetFaults(func(op, key string) error {
		if op == "delete" {
			deleted = append(deleted, key)
		}
		return nil
	}, nil)
	got, err := w.merge(w.memory, anne)
	if err != nil {
		t.Fatal(err)
	}
	w.memory.SetFaults(nil, nil)
	if len(deleted) != 17 || !slices.IsSorted(deleted) {
		t.Errorf("commits were removed in the order %q", deleted)
	}
	want := []string{"1-5", "10-13", "14-17", "18", "19", "20", "21", "22", "23", "24", "25", "6-9"}
	if !slices.Equal(anne.log(), want) {
		t.Errorf("the log is %q, want %q", anne.log(), want)
	}
	if r := got[0]; r.Segments != 4 || r.Commits != 17 || r.Removed != 17 || r.Bytes == 0 {
		t.Errorf("%+v", r)
	}
	after, err := history.Load(t.Context(), w.memory, anne.path, history.Moment{FromLog: true})
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	if diff, err := before.Difference(after); diff != "" || err != nil {
		t.Errorf("the state differs: %s, %v", diff, err)
	}
	anne.must(w.memory)
	anne.clean()
	if packs := w.memory.Keys("packs/"); len(packs) != 1 {
		t.Errorf("packs: %q", packs)
	}
	plan, err := maintenance.PlanMerge(t.Context(), anne.found(w.memory), maintenance.LastDay(w.now, maintenance.MinLogAge))
	if err != nil || plan.Commits != 0 || plan.Requests().Total() != 0 {
		t.Errorf("the plan of another run: %+v, %v", plan, err)
	}
	if got, err := w.merge(w.memory, anne); err != nil || got[0].Removed != 0 || !slices.Equal(anne.log(), want) {
		t.Errorf("another run: %+v, %v", got[0], err)
	}
	// The newest commit is never merged, however old it is.
	w.now = w.now.AddDate(0, 1, 0)
	if _, err := w.merge(w.memory, anne); err != nil {
		t.Fatal(err)
	}
	if want := []string{"1-5", "10-13", "14-17", "18-21", "22-24", "25", "6-9"}; !slices.Equal(anne.log(), want) {
		t.Errorf("a month later the log is %q, want %q", anne.log(), want)
	}
	anne.must(w.memory)
	anne.clean()
}

// The bodies of several backups share packs. Equal bodies are stored once, but not with
// those that were made to collide.
func TestMergeSharesPacks(t *testing.T) {
	w := newWorld(t)
	anne, bob, eve := w.backup("anne"), w.backup("bob"), w.backup("eve")
	news := strings.Repeat("news for all ", 1000)
	anne.deliver(news, false)
	bob.deliver(news, false)
	eve.deliver(news, true)
	for _, o := range []*owner{anne, bob, eve} {
		o.flag(1)
	}
	w.now = w.now.AddDate(0, 0, 4)
	if _, err := w.merge(w.memory, anne, bob, eve); err != nil {
		t.Fatal(err)
	}
	entries := 0
	for _, key := range w.memory.Keys("packs/") {
		dir, err := history.NewObjects(w.memory, 0).Directory(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		entries += len(dir.Entries)
	}
	if entries != 2 || len(w.memory.Keys("packs/")) != 2 {
		t.Errorf("%d entries in %d packs, want two in two", entries, len(w.memory.Keys("packs/")))
	}
	for _, o := range []*owner{anne, bob, eve} {
		if want := []string{"1-2", "3"}; !slices.Equal(o.log(), want) {
			t.Errorf("the log of %s is %q, want %q", o.path, o.log(), want)
		}
		o.must(w.memory)
		o.clean()
	}
}

var errFault = errors.New("the network is down")

// Each request of a run fails in turn, or its answer is lost. Everything can be read at every
// moment, and the next run finishes the work.
func TestMergeFaults(t *testing.T) {
	for name, fault := range map[string]faultstore.Fault{
		"fails":     {Count: 1, Before: func(string, string) error { return errFault }},
		"is lost":   {Count: 1, After: func(string, string) error { return errFault }},
		"last fail": {Before: func(string, string) error { return errFault }}, // all that follow
	} {
		for n, step := every(4); ; n += step {
			w := newWorld(t)
			anne, bob := w.backup("anne"), w.backup("bob")
			anne.days(3)
			bob.days(3)
			w.now = w.now.AddDate(0, 0, 3)
			s := faultstore.New(w.memory)
			fault.Skip = n
			s.Add(fault)
			_, err := w.merge(s, anne, bob)
			if s.Struck() == 0 {
				if n < 60 {
					t.Fatalf("only %d requests", n)
				}
				break
			}
			for _, o := range []*owner{anne, bob} {
				if cerr := o.check(w.memory); cerr != nil {
					t.Fatalf("request %d %s (%v): %v", n, name, err, cerr)
				}
			}
			if _, err := w.merge(w.memory, anne, bob); err != nil {
				t.Fatalf("after request %d %s: %v", n, name, err)
			}
			for _, o := range []*owner{anne, bob} {
				if len(o.log()) > 5 {
					t.Errorf("after request %d %s the log of %s is %q", n, name, o.path, o.log())
				}
				o.must(w.memory)
				o.clean()
			}
		}
	}
}

// Two programs merge the same backup side by side, because one has lost its lease without
// noticing. One is stopped before each of its requests in turn, while the other one does all.
func TestMergeSideBySide(t *testing.T) {
	for n := 0; ; n++ {
		w := newWorld(t)
		anne := w.backup("anne")
		anne.days(3)
		w.now = w.now.AddDate(0, 0, 3)
		s := faultstore.New(w.memory)
		s.Add(faultstore.Fault{Skip: n, Count: 1, Call: func(string, string) {
			w.memory.Lose(repository.UpkeepKey(anne.path))
			if _, err := w.merge(w.memory, anne); err != nil {
				t.Errorf("beside request %d: %v", n, err)
			}
			anne.must(w.memory)
		}})
		_, err := w.merge(s, anne)
		if s.Struck() == 0 {
			break
		}
		if err != nil && !errors.Is(err, history.ErrCorrupt) && !history.IsDamage(err) {
			t.Errorf("request %d: %v", n, err)
		}
		anne.must(w.memory)
		anne.clean()
		if _, err := w.merge(w.memory, anne); err != nil {
			t.Errorf("after request %d: %v", n, err)
		}
	}
}

// A reader that is stopped between any two of its requests, while everything is merged, loses
// nothing.
func TestReadersDuringMerge(t *testing.T) {
	for name, read := range map[string]func(o *owner, s *faultstore.Store) error{
		"restore": func(o *owner, s *faultstore.Store) error { return o.check(s) },
		"verify": func(o *owner, s *faultstore.Store) error {
			f := o.found(o.w.memory)
			f.Partition.Store = s
			var bad error
			_, err := verify.Run(o.w.t.Context(), f, verify.Options{Report: func(p verify.Problem) { bad = errors.New(p.String()) }})
			return errors.Join(err, bad)
		},
	} {
		for n, step := every(4); ; n += step {
			w := newWorld(t)
			anne := w.backup("anne")
			anne.days(3)
			anne.deliver("Subject: large\r\n\r\n"+noise(300<<10), false)
			anne.flag(1)
			w.now = w.now.AddDate(0, 0, 4)
			s := faultstore.New(w.memory)
			s.Add(faultstore.Fault{Skip: n, Count: 1, Call: func(string, string) {
				if _, err := w.merge(w.memory, anne); err != nil {
					t.Error(err)
				}
			}})
			err := read(anne, s)
			if s.Struck() == 0 {
				break
			}
			if err != nil {
				t.Errorf("%s, merged before request %d: %v", name, n, err)
			}
		}
	}
}

// noise returns text that does not compress.
func noise(n int) string {
	var b strings.Builder
	for i := uint64(1); b.Len() < n; i++ {
		fmt.Fprintf(&b, "%x", (i*0x9e3779b97f4a7c15)^(i<<13))
	}
	return b.String()
}

// A backup that cannot be read completely is left unchanged.
func TestMergeLeavesDamage(t *testing.T) {
	for name, damage := range map[string]func(w *world, o *owner){
		"a missing commit":   func(w *world, o *owner) { w.memory.Lose(history.LogKey(o.path, 4)) },
		"a damaged commit":   func(w *world, o *owner) { w.memory.Flip(history.LogKey(o.path, 4), 40) },
		"a damaged body":     func(w *world, o *owner) { w.memory.Flip(history.LogKey(o.path, 2), 60) },
		"a swapped commit":   func(w *world, o *owner) { w.memory.Swap(history.LogKey(o.path, 3), history.LogKey(o.path, 4)) },
		"the newest damaged": func(w *world, o *owner) { w.memory.Flip(history.LogKey(o.path, o.tip.Number), 40) },
		"a seal": func(w *world, o *owner) {
			o.commit(func(b *history.Builder) { o.event(b, &history.SealedEvent{Reason: "moved", To: "elsewhere"}) })
		},
		"another backup": func(w *world, o *owner) {
			w.memory.Copy(history.LogKey("user/bob", 2), history.LogKey(o.path, 4))
		},
	} {
		w := newWorld(t)
		anne, bob := w.backup("anne"), w.backup("bob")
		bob.days(1)
		anne.days(2)
		w.now = w.now.AddDate(0, 0, 4)
		damage(w, anne)
		was := anne.log()
		if _, err := w.merge(w.memory, anne, bob); err == nil {
			t.Errorf("%s: no error", name)
		}
		if !slices.Equal(anne.log(), was) {
			t.Errorf("%s: the log was %q, is %q", name, was, anne.log())
		}
		if len(bob.log()) != 2 {
			t.Errorf("%s: the log of the other backup is %q", name, bob.log())
		}
	}
}

// Nothing of the newest commit is merged, so damage to its places stops no merge.
func TestMergeBesideDamagedPlaces(t *testing.T) {
	w := newWorld(t)
	anne := w.backup("anne")
	anne.days(2)
	anne.deliver("the newest", false)
	w.now = w.now.AddDate(0, 0, 4)
	key := history.LogKey(anne.path, anne.tip.Number)
	p := pack.NewWriter(nil, pack.Options{})
	for name, b := range entries(t, w.memory.Bytes(key)) {
		if name == "places.ndjson" {
			b = []byte("nonsense\n")
		}
		w.must(p.Add(name, b))
	}
	object, err := p.Finish()
	w.must(err)
	w.put(key, object)
	if tip, err := anne.found(w.memory).OpenTip(t.Context(), anne.tip.Number); err != nil || tip.Hash == "" {
		t.Fatalf("%+v, %v: this test no longer covers its case", tip, err)
	}
	if _, err := w.merge(w.memory, anne); err != nil {
		t.Error(err)
	}
	if got := anne.log(); len(got) != 3 {
		t.Errorf("the log is %q, want two segments and a commit", got)
	}
}

// entries yields the entries of an object, in order.
func entries(t *testing.T, object []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		z, err := zstd.NewReader(bytes.NewReader(object))
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		archive := tar.NewReader(z)
		for {
			h, err := archive.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(archive)
			if err != nil {
				t.Fatal(err)
			}
			if !yield(h.Name, b) {
				return
			}
		}
	}
}

// If the store returns other bytes than were put, nothing is removed.
func TestMergeProves(t *testing.T) {
	for name, match := range map[string]func(op, key string) bool{
		"pack": func(op, key string) bool { return op == "get" && strings.HasPrefix(key, "packs/") },
		"segment": func(op, key string) bool {
			return op == "get" && strings.Contains(key, "-") && strings.Contains(key, "/log/")
		},
	} {
		w := newWorld(t)
		anne := w.backup("anne")
		anne.days(2)
		w.now = w.now.AddDate(0, 0, 4)
		s := faultstore.New(w.memory)
		s.Add(faultstore.Fault{Match: match, Garble: func(_ int64, b []byte) []byte {
			b = bytes.Clone(b)
			for i := range b {
				b[i] ^= 1
			}
			return b
		}})
		if _, err := w.merge(s, anne); err == nil {
			t.Errorf("%s: no error", name)
		}
		singles := slices.DeleteFunc(anne.log(), func(n string) bool { return strings.Contains(n, "-") })
		if len(singles) != int(anne.tip.Number) {
			t.Errorf("%s: the log is %q", name, anne.log())
		}
		anne.must(w.memory)
	}
}

// The segment of a program that was stopped arrives in a new backup of the same name.
func TestMergeIntoNewBackup(t *testing.T) {
	w := newWorld(t)
	anne := w.backup("anne")
	anne.days(2)
	w.now = w.now.AddDate(0, 0, 4)
	var fresh *owner
	s := faultstore.New(w.memory)
	s.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && strings.Contains(key, "/log/") }, Call: func(string, string) {
		for _, key := range w.memory.Keys("backups/") {
			w.memory.Lose(key)
		}
		fresh = w.backup("anne")
		fresh.deliver("Subject: new\r\n\r\nnew\r\n", false)
	}})
	if _, err := w.merge(s, anne); err == nil {
		t.Error("no error although another backup is there")
	}
	if want := []string{"1", "1-5", "2"}; !slices.Equal(fresh.log(), want) {
		t.Fatalf("the log is %q, want %q", fresh.log(), want)
	}
	fresh.must(w.memory) // ends with commit 2
	newest, err := fresh.found(w.memory).Log().Newest(t.Context(), 0)
	if err != nil || newest != 2 {
		t.Errorf("the newest commit is %d, %v, want 2", newest, err)
	}
	w.now = w.now.AddDate(0, 0, 4)
	if _, err := w.merge(w.memory, fresh); err == nil {
		t.Error("no error although a segment may be all that is left of a newer log")
	}
	for range 6 {
		fresh.flag(1)
	}
	fresh.must(w.memory)
	reported := 0
	if _, err := verify.Run(t.Context(), fresh.found(w.memory), verify.Options{Report: func(p verify.Problem) { reported++; t.Log(p) }}); err != nil || reported != 1 {
		t.Errorf("verify has reported %d problems, %v, want one", reported, err)
	}
	w.now = w.now.AddDate(0, 0, 4)
	if _, err := w.merge(w.memory, fresh); err != nil {
		t.Fatal(err)
	}
	fresh.must(w.memory)
	fresh.clean()
	if want := []string{"1-2", "3-7", "8"}; !slices.Equal(fresh.log(), want) {
		t.Errorf("the log is %q, want %q", fresh.log(), want)
	}
}

// A commit of a writer that slept arrives under a number that was merged meanwhile. Readers
// ignore it, also one that begins at the checkpoint before it, and a later run removes it.
func TestStrayCommit(t *testing.T) {
	w := newWorld(t)
	anne := w.backup("anne")
	anne.days(3)
	state, err := history.Load(t.Context(), w.memory, anne.path, history.Moment{Number: 7})
	if err != nil {
		t.Fatal(err)
	}
	tip := state.Tip()
	w.now = w.now.AddDate(0, 0, 4)
	if _, err := w.merge(w.memory, anne); err != nil {
		t.Fatal(err)
	}
	stray := &owner{w: w, path: anne.path, tip: tip, mail: map[uint32]string{}}
	stray.uid = anne.uid
	stray.deliver("Subject: stray\r\n\r\n", false)
	anne.must(w.memory)
	if _, err := state.WriteCheckpoint(t.Context(), pack.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := state.Close(); err != nil {
		t.Fatal(err)
	}
	anne.must(w.memory)
	var problems []string
	if _, err := verify.Run(t.Context(), anne.found(w.memory), verify.Options{Report: func(p verify.Problem) { problems = append(problems, p.String()) }}); err != nil {
		t.Fatal(err)
	}
	if len(problems) != 1 || !strings.Contains(problems[0], history.LogKey(anne.path, 8)) {
		t.Errorf("verify reports %q", problems)
	}
	w.now = w.now.AddDate(0, 0, 4)
	if _, err := w.merge(w.memory, anne); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(anne.log(), "8") {
		t.Errorf("the log is %q", anne.log())
	}
	anne.must(w.memory)
	anne.clean()
}

// A log of a year, with a hundred commits a day, is read with a few hundred requests.
func TestYearOfSegments(t *testing.T) {
	if short() {
		t.Skip("makes 36,500 commits")
	}
	w := newWorld(t)
	anne := w.backup("anne")
	anne.deliver("Subject: first\r\n\r\n", false)
	for range 365 {
		for range 100 {
			anne.flag(1)
		}
		w.now = w.now.Truncate(24 * time.Hour).Add(32 * time.Hour)
	}
	w.now = w.now.AddDate(0, 0, 4)
	if _, err := w.merge(w.memory, anne); err != nil {
		t.Fatal(err)
	}
	c := new(observe.Counter)
	if err := anne.check(observe.New(w.memory, c.Hooks())); err != nil {
		t.Fatal(err)
	}
	requests := 0
	for _, n := range c.Snapshot() {
		requests += n.Requests
	}
	t.Logf("%d objects in the log, %d requests", len(anne.log()), requests)
	if requests > 400 {
		t.Errorf("%d requests, want 400 at most", requests)
	}
}

// A host is paused for days between a pack and the segment that names it. Collection has
// condemned or removed the pack meanwhile: the single commits stay.
func TestMergeSleepsAfterItsPack(t *testing.T) {
	for name, meanwhile := range map[string]func(w *world, pack string){
		"removed": func(w *world, pack string) { w.memory.Lose(pack) },
		"condemned": func(w *world, pack string) {
			b, err := (&history.Condemned{Version: history.Version, Packs: []history.CondemnedPack{{Key: pack, Since: w.now}}}).Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			w.put(history.CondemnedKey, b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			anne := w.backup("anne")
			anne.days(3)
			w.now = w.now.AddDate(0, 0, 3)
			s, paused := faultstore.New(w.memory), false
			s.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && strings.HasPrefix(key, history.LogPrefix(anne.path)) }, Call: func(string, string) {
				paused = true
				w.now = w.now.AddDate(0, 0, 9)
				meanwhile(w, w.memory.Keys("packs/")[0])
			}})
			before := len(w.memory.Keys(history.LogPrefix(anne.path)))
			got, err := w.merge(s, anne)
			if err == nil {
				err = got[0].Err
			}
			if !paused || got[0].Removed != 0 || len(w.memory.Keys(history.LogPrefix(anne.path))) < before {
				t.Errorf("paused %v, %d commits removed, %v", paused, got[0].Removed, err)
			}
			for _, key := range w.memory.Keys("packs/") {
				w.memory.Lose(key)
			}
			anne.must(w.memory)
		})
	}
}
