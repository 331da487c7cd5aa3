package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/probe"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// What reading a small object may take: encoding/json keeps some copies of it.
const (
	fuzzBase    = 64 << 10
	fuzzPerByte = 256
)

// noon is the time in the seeds.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// putObject puts an object into a new store.
func putObject(t testing.TB, key string, b []byte) *memstore.Store {
	t.Helper()
	s := memstore.New(nil)
	if _, err := s.Put(t.Context(), key, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

// fuzzObject fuzzes the reader of a JSON object. An object that is refused is named, and is not an error of the store,
// which would end the work on all others. An object that is accepted is read again from its own form. check checks it further; it may be nil.
func fuzzObject[T any](f *testing.F, key string, read func(context.Context, objstore.Store) (*T, error), check func(testing.TB, *T), seeds ...*T) {
	for _, s := range seeds {
		b, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(bytes.Replace(b, []byte(`"version": 1`), []byte(`"version": 9`), 1))
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := putObject(t, key, b)
		var v *T
		var err error
		fuzztest.Within(t, fuzzBase+fuzzPerByte*int64(len(b)), func() { v, err = read(t.Context(), s) })
		if err != nil {
			if IsStoreError(err) || !strings.Contains(err.Error(), key) {
				t.Fatalf("unexpected error: %v", err)
			}
			return
		}
		if check != nil {
			check(t, v)
		}
		form, err := json.Marshal(v)
		if err != nil {
			return // a year after 9999
		}
		again, err := read(t.Context(), putObject(t, key, form))
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		if second, err := json.Marshal(again); err != nil || !bytes.Equal(form, second) {
			t.Fatalf("%s became %s, %v", form, second, err)
		}
	})
}

func FuzzInfo(f *testing.F) {
	fuzzObject(f, Key, ReadInfo, nil, &Info{Version: Version, ID: NewID(), Created: noon, Software: "backupd", Dedup: "partition", Chunker: Chunker,
		Capabilities: probe.Capabilities{IfAbsent: true, IfMatch: true}, Probed: Prober{Location: "dir:/x"}})
}

func FuzzBackupInfo(f *testing.F) {
	read := func(ctx context.Context, s objstore.Store) (*BackupInfo, error) {
		return ReadBackupInfo(ctx, s, "user/anne")
	}
	fuzzObject(f, BackupInfoKey("user/anne"), read, func(t testing.TB, i *BackupInfo) {
		if n := UserName("anne"); i.Check(n) == nil && (i.Name != "anne" || i.Kind != KindUser) {
			t.Errorf("%+v counts as %s", i, n)
		}
	}, &BackupInfo{Version: Version, Name: "anne", Kind: KindUser, Created: noon, ID: NewID()})
}

func FuzzLock(f *testing.F) {
	read := func(ctx context.Context, s objstore.Store) (*LockFile, error) {
		l, _, err := ReadLock(ctx, s, "user/anne")
		return l, err
	}
	fuzzObject(f, LockKey("user/anne"), read, func(t testing.TB, l *LockFile) {
		if l.HeldError() == nil {
			t.Error("no error")
		}
	}, &LockFile{Version: lockVersion, ID: NewID(), Owner: "b1", Since: noon, Expires: noon.Add(time.Hour)})
}

func FuzzHolds(f *testing.F) {
	found := func(s objstore.Store) *Found { return &Found{Partition: Config{Store: s}, Path: "user/anne"} }
	read := func(ctx context.Context, s objstore.Store) (*Holds, error) {
		h, err := found(s).ReadHolds(ctx)
		// What cannot be read is a hold, as is every hold that can.
		if held := found(s).CheckHolds(ctx, time.Time{}); (held != nil) != (err != nil || len(h.Holds) > 0) {
			f.Errorf("holds.json was read with %v, but %v", err, held)
		}
		return h, err
	}
	fuzzObject(f, HoldsKey("user/anne"), read, checkHolds, &Holds{Version: holdsVersion, Released: noon, Holds: []Hold{
		{Kind: HoldPlaced, By: "root", Reason: "a case", Since: noon.Add(1), Until: noon.Add(time.Hour)},
		{Kind: HoldTripwire, By: "b1", Reason: "much mail was deleted", Since: noon.Add(1), Placed: noon}}})
}

// checkHolds checks that a merge with a copy changes nothing, and that a release ends all.
func checkHolds(t testing.TB, h *Holds) {
	if active := h.Active(time.Time{}); len(active) != len(h.Holds) || (h.Err(time.Time{}) == nil) != (len(active) == 0) {
		t.Errorf("%d of %d holds are active when the time is in doubt", len(active), len(h.Holds))
	}
	other := &Holds{Version: h.Version, Holds: append([]Hold(nil), h.Holds...), Released: h.Released}
	other.release(noon, func(Hold) bool { return true })
	if len(other.Holds) != 0 {
		t.Errorf("%d holds are left", len(other.Holds))
	}
	if other.add(Hold{Kind: HoldPlaced, Reason: "new"}); len(other.Holds) != 1 || !other.Holds[0].Since.After(other.Released) {
		t.Errorf("a new hold ends with the last release: %+v", other)
	}
}

func FuzzContact(f *testing.F) {
	key := ContactKey("mail", "b1")
	read := func(ctx context.Context, s objstore.Store) (*Contact, error) { return readContact(ctx, s, key) }
	fuzzObject(f, key, read, func(_ testing.TB, c *Contact) { c.Reaches("user/anne") }, &Contact{Version: Version, Client: "mail", Host: "b1", Last: noon,
		Refused: &Refusal{Backup: "user/anne", Kind: "locked", Since: noon, At: noon, Error: "locked"}, Unreached: []Refusal{{Backup: "user/bob", Since: noon}}, More: 2})
}

func FuzzRun(f *testing.F) {
	read := func(ctx context.Context, s objstore.Store) (*Run, error) { return LastRun(ctx, s, RunDrill) }
	fuzzObject(f, RunKey(RunDrill), read, nil, &Run{Version: Version, Command: RunDrill, Host: "b1", Begun: noon, Ended: noon, Result: RunOK, Seconds: 1.5})
}

func FuzzCycle(f *testing.F) {
	fuzzObject(f, CycleKey, ReadCycle, func(t testing.TB, c *Cycle) {
		if c.Version != Version && *c != (Cycle{}) {
			t.Errorf("%+v", c)
		}
	}, &Cycle{Version: Version, Host: "b1", Begun: noon, After: "user/anne", Backups: 7, Failed: 1})
}

func FuzzAside(f *testing.F) {
	base := asideBase("user/anne", noon)
	read := func(ctx context.Context, s objstore.Store) (*asideInfo, error) {
		p := Config{Name: "default", Store: s}
		a, err := readAsideInfo(ctx, s, base)
		if found, ferr := findAside(ctx, p, base); (ferr != nil) != (err != nil) || ferr == nil && found.Aside != base {
			f.Errorf("found %+v, %v; read: %v", found, ferr, err)
		}
		return a, err
	}
	fuzzObject(f, asideInfoKey(base), read, nil, &asideInfo{Version: asideVersion, Backup: "user/anne", Name: "anne", Kind: KindUser, Since: noon, Reason: "a test", State: asideDone})
}

func FuzzErasure(f *testing.F) {
	whole := NewErasure("00112233445566778899aabbccddeeff", UserName("anne"), time.Time{})
	whole.Copies = []string{"set-aside/user/anne/20260301T120000Z"}
	part := NewErasure(whole.ID, UserName("anne"), noon)
	forged := NewErasure(whole.ID, UserName("anne"), time.Time{})
	forged.Copies = []string{"set-aside/user/../20260301T120000Z"}
	read := func(ctx context.Context, s objstore.Store) (*Erasure, error) {
		e, _, err := ReadErasure(ctx, s, whole.ID)
		return e, err
	}
	fuzzObject(f, ErasureKey(whole.ID), read, func(t testing.TB, e *Erasure) {
		for _, c := range e.Copies { // all that begins with it and a slash is removed
			if !strings.HasPrefix(c, AsidePrefix) || strings.Contains(c+"/", "//") || strings.Contains(c+"/", "/../") || strings.Contains(c+"/", "/./") {
				t.Errorf("%q would be removed", c)
			}
		}
		if e.OfHistory() && len(e.Copies) > 0 || e.Of().Path() != e.Backup {
			t.Errorf("%+v", e)
		}
	}, whole, part, forged)
}

// FuzzTotals reads the totals of the last collection as verify does.
func FuzzTotals(f *testing.F) {
	f.Add([]byte(`{"version":1,"condemned":{"packs":3,"bytes":7},"sparse":{"packs":1}}`))
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := putObject(t, TotalsKey, b)
		fuzztest.Within(t, fuzzBase+fuzzPerByte*int64(len(b)), func() {
			if err := CheckCondemned(t.Context(), s); err != nil && (!history.IsDamage(err) || !strings.Contains(err.Error(), history.CondemnedKey)) {
				t.Errorf("unexpected error: %v", err)
			}
		})
	})
}

// FuzzNameOf reads a path that somebody else may have chosen.
func FuzzNameOf(f *testing.F) {
	for _, n := range []Name{UserName("anne"), UserName("ü@example.com"), {KindShared, "example.com!info"}, ServerName(), UserName(strings.Repeat("/", 100)), UserName("..")} {
		f.Add(n.Path(), n.Full)
	}
	f.Fuzz(func(t *testing.T, path, full string) {
		if n, ok := NameOf(path); ok && n.Path() != path {
			t.Errorf("%q was read as %+v, whose path is %q", path, n, n.Path())
		}
		n := UserName(full)
		if back, ok := NameOf(n.Path()); ok && back != n || !ok && len(full) <= maxEncoded/3 && full != "" {
			t.Errorf("%q has the path %q, which was read as %+v, %v", full, n.Path(), back, ok)
		}
		if enc := strings.TrimPrefix(n.Path(), KindUser+"/"); strings.ContainsAny(enc, "/\\\x00") || strings.HasPrefix(enc, ".") || len(enc) > maxEncoded+67 {
			t.Errorf("%q has the path %q", full, n.Path())
		}
	})
}
