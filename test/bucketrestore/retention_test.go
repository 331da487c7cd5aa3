package bucketrestore

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// After retention, the script restores each moment that is kept, and reports a moment that is not.
func TestAfterRetention(t *testing.T) {
	now := time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	s := memstore.New(clock)
	h := newAgedHost(t, s, clock)
	inbox := newBox("user.anne")
	moments, want := map[uint64]string{}, map[uint64]map[string]string{}
	for day := range 16 {
		inbox.deliver(mail(day, 2000))
		if day > 3 {
			inbox.expunge(uint32(day - 3))
		}
		h.do(inbox.sync)
		m, err := history.Load(t.Context(), s, "user/anne", history.Moment{})
		if err != nil {
			t.Fatal(err)
		}
		moments[m.Tip().Number], want[m.Tip().Number] = m.Tip().Time.UTC().Format(time.RFC3339Nano), maildir(inbox)
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		now = now.Add(24 * time.Hour)
	}
	h.stop()
	kept := retain(t, s, clock)
	dir := t.TempDir()
	copyTo(t, s, dir)
	p := &person{t, dir, []string{"PATH=" + tools(t), "TMPDIR=" + t.TempDir()}}
	checked := 0
	for n, at := range moments {
		if n <= kept.Cut.Number && !isKept(kept, n) {
			to := filepath.Join(t.TempDir(), "Maildir")
			if _, diag, err := p.run("restore", "user/anne", to, "", at); err == nil || !strings.Contains(diag, "kept history") && !strings.Contains(diag, "removed by retention") {
				t.Errorf("commit %d, which was removed: %v\n%s", n, err, diag)
			}
			continue
		}
		checked++
		compare(t, fmt.Sprintf("commit %d", n), p.restore("restore", "user/anne", "", at), want[n])
	}
	if checked < 6 || checked == len(moments) {
		t.Errorf("%d of %d moments are kept", checked, len(moments))
	}
	compare(t, "now", p.restore("restore", "user/anne"), maildir(inbox))
}

func isKept(r maintenance.RetainResult, n uint64) bool {
	for _, k := range r.Kept {
		if k.Number == n {
			return true
		}
	}
	return n == r.Cut.Number
}

// newAgedHost is a host with a clock, which puts every message into a pack.
func newAgedHost(t *testing.T, s *memstore.Store, clock func() time.Time) *host {
	t.Helper()
	x, err := index.Open(filepath.Join(t.TempDir(), "index"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	set, err := partitions.Open(partitions.Options{
		Partitions: []repository.Config{{Name: "default", Location: "test", Store: s}},
		Index:      x, Host: "host", Software: "test", NoCheckpoints: true, InlineLimit: 1, Now: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &host{t: t, store: s, set: set, stop: func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}}
}

func retain(t *testing.T, s *memstore.Store, clock func() time.Time) maintenance.RetainResult {
	t.Helper()
	f, err := repository.FindPath(t.Context(), repository.Config{Name: "default", Store: s}, "user/anne")
	if err != nil {
		t.Fatal(err)
	}
	o := repository.LockOptions{Owner: "test", Host: "tool", Now: clock}
	u, err := repository.BeginUpkeep(t.Context(), f, o)
	if err != nil {
		t.Fatal(err)
	}
	done, err := maintenance.Retain(u.Context(), f, u, maintenance.RetainOptions{Lock: o,
		Policy: maintenance.Policy{Keep: 5 * 24 * time.Hour, Daily: 4, Weekly: 2, LogMinAge: 48 * time.Hour}})
	if err == nil {
		err = u.End(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// copyTo copies every object into a directory.
func copyTo(t *testing.T, s *memstore.Store, dir string) {
	t.Helper()
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		o, err := s.Get(t.Context(), info.Key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(o)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(info.Key))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
