package repository

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/probe"
)

// leaseWorld is a partition with backups, whose leases are taken.
type leaseWorld struct {
	*knownWorld
	now  time.Time // of the store; the host's clocks show the time of the test
	ops  map[string]int
	conf Config
}

func newLeaseWorld(t *testing.T, users ...string) *leaseWorld {
	w := &leaseWorld{now: time.Now(), ops: map[string]int{}}
	w.knownWorld = &knownWorld{t: t, s: memstore.New(func() time.Time { return w.now }), dir: t.TempDir()}
	b, err := json.Marshal(Info{Version: Version, ID: NewID(), Capabilities: probe.Capabilities{IfAbsent: true, IfMatch: true}})
	if err != nil {
		t.Fatal(err)
	}
	w.put(Key, b)
	for _, u := range users {
		w.create(u)
	}
	w.s.SetFaults(func(op, _ string) error { w.ops[op]++; return nil }, nil)
	w.conf = Config{Name: "p", Location: "memory", Store: w.s}
	return w
}

func (w *leaseWorld) file(user string) *LockFile {
	w.t.Helper()
	l, _, err := readLease(w.t.Context(), w.s, UpkeepKey(UserName(user).Path()))
	if err != nil || l == nil {
		w.t.Fatal(l, err)
	}
	return l
}

// The leases of a run cost three questions for the time, and then none.
func TestLeases(t *testing.T) {
	w := newLeaseWorld(t, "anne", "bert", "carl")
	leases := NewLeases(w.conf, LockOptions{Owner: "test"})
	for i, stats := range []int{3, 0, 0} { // the first lease asks for the time
		f, err := FindPath(t.Context(), w.conf, UserName([]string{"anne", "bert", "carl"}[i]).Path())
		if err != nil {
			t.Fatal(err)
		}
		clear(w.ops)
		u, err := leases.Begin(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if err := u.End(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w.ops["stat"] != stats || w.ops["put"] != 2 || w.ops["list"] != 1 {
			t.Errorf("lease %d: %v", i, w.ops)
		}
	}
}

// A program that was paused with all clocks of its host puts no lease with the time before: other
// programs would think that it has ended.
func TestLeaseAfterPause(t *testing.T) {
	w := newLeaseWorld(t, "anne", "bert")
	leases := NewLeases(w.conf, LockOptions{Owner: "test"})
	begin := func(user string) *Upkeep {
		f, err := FindPath(t.Context(), w.conf, UserName(user).Path())
		if err != nil {
			t.Fatal(err)
		}
		u, err := leases.Begin(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	if err := begin("anne").End(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(3 * time.Minute)
	u := begin("bert")
	if l := w.file("bert"); l.Expires.Sub(w.now) < time.Minute {
		t.Errorf("the lease ends at %v, it is %v", l.Expires, w.now)
	}
	f, err := FindPath(t.Context(), w.conf, UserName("bert").Path())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := BeginUpkeep(t.Context(), f, LockOptions{Owner: "another"}); !errors.Is(err, ErrUpkeep) {
		t.Errorf("another program: %v", err)
	}
	if err := u.End(t.Context()); err != nil {
		t.Error(err)
	}
}

// A program can be paused again before each put of its lease. The lease begins at the right time after
// that, or the program does not have it.
func TestLeaseAfterPauses(t *testing.T) {
	for pauses, ok := range map[int]bool{1: true, 2: true, 3: true, 4: false, 100: false} {
		w := newLeaseWorld(t, "anne", "bert")
		paused := faultstore.New(w.s)
		w.conf.Store = paused
		leases := NewLeases(w.conf, LockOptions{Owner: "test"})
		begin := func(user string) (*Upkeep, error) {
			f, err := FindPath(t.Context(), w.conf, UserName(user).Path())
			if err != nil {
				t.Fatal(err)
			}
			return leases.Begin(t.Context(), f)
		}
		u, err := begin("anne")
		if err == nil {
			err = u.End(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		paused.Add(faultstore.Fault{Count: pauses, Call: func(string, string) { w.now = w.now.Add(70 * time.Second) },
			Match: func(op, key string) bool { return op == "put" && key == UpkeepKey("user/bert") }})
		u, err = begin("bert")
		switch l := w.file("bert"); {
		case (err == nil) != ok:
			t.Errorf("%d pauses: %v", pauses, err)
		case ok && l.Expires.Sub(w.now) < time.Minute:
			t.Errorf("%d pauses: the lease ends at %v, it is %v", pauses, l.Expires, w.now)
		case !ok && !l.Expires.IsZero():
			t.Errorf("%d pauses: the lease was not released", pauses)
		}
		if err == nil {
			paused.Clear()
			if err := u.End(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

// The lease that this host has released is taken without reading it, unless somebody has taken it
// since the list of the backups.
func TestFreeLease(t *testing.T) {
	w := newLeaseWorld(t, "anne")
	key := UpkeepKey("user/anne")
	run := func(meanwhile func(), want error) (gets int) {
		t.Helper()
		open := func(p Config) *Known {
			k, err := OpenKnown(w.dir, p)
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		leases := NewLeases(w.conf, LockOptions{Owner: "test"})
		for f, err := range BrowseKnown(t.Context(), []Config{w.conf}, open) {
			if err != nil {
				t.Fatal(err)
			}
			meanwhile()
			clear(w.ops)
			u, err := leases.Begin(t.Context(), f)
			gets = w.ops["get"]
			if !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
			if err == nil {
				err = u.End(t.Context())
			}
			if want == nil && err != nil {
				t.Error(err)
			}
		}
		return gets
	}
	nothing := func() {}
	take := func(expires time.Time) func() {
		return func() {
			b, err := json.Marshal(LockFile{Version: 1, ID: NewID(), Owner: "another", Since: w.now, Expires: expires})
			if err != nil {
				t.Fatal(err)
			}
			w.put(key, b)
		}
	}
	for i, c := range []struct {
		what      string
		meanwhile func()
		want      error
		gets      int // repository.json is one
	}{
		{"there is none", nothing, nil, 1},
		{"it was released by this host", nothing, nil, 1},
		{"somebody has it", take(w.now.Add(time.Minute)), ErrUpkeep, 3},
		{"somebody has had it", take(time.Time{}), nil, 2},
		{"it was released again", nothing, nil, 1},
		{"somebody has just begun and ended", take(time.Time{}), nil, 3},
	} {
		if gets := run(c.meanwhile, c.want); gets != c.gets {
			t.Errorf("%d: %s: %d GETs, want %d", i, c.what, gets, c.gets)
		}
	}
	w.s.Lose(key)
	if gets := run(take(w.now.Add(time.Minute)), ErrUpkeep); gets != 3 {
		t.Errorf("somebody has it since the list: %d GETs", gets)
	}
}

// A hold that was placed after the list of all backups stops the upkeep.
func TestHoldSinceTheList(t *testing.T) {
	w := newLeaseWorld(t, "anne")
	for f, err := range Browse(t.Context(), w.conf) {
		if err != nil {
			t.Fatal(err)
		}
		if err := f.PlaceHold(t.Context(), Hold{Kind: HoldPlaced, By: "test"}, time.Now); err != nil {
			t.Fatal(err)
		}
		if _, err := BeginUpkeep(t.Context(), f, LockOptions{Owner: "test"}); !errors.Is(err, ErrOnHold) {
			t.Errorf("%v, want a hold", err)
		}
	}
	if !w.file("anne").Expires.IsZero() {
		t.Error("the lease was not released")
	}
}
