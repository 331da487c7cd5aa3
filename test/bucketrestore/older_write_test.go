package bucketrestore

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// older is a repository that the last commit without any upkeep, 6f51743, has written: the state
// of anne's mail after each commit is that of olderMail. To write it again, copy this file into a
// work tree of that commit, and run
// TestWriteOlder with OLDER=FILE.
const older = "testdata/older.tar.gz"

const olderDays = 30

var olderBegin = time.Date(2026, 5, 1, 7, 0, 0, 0, time.UTC)

// olderMail calls fn after each change of anne's mail. A day has two of them.
func olderMail(fn func(at time.Time, n uint64, changed *box, all []*box)) {
	inbox, work := newBox("user.anne"), newBox("user.anne.Work")
	for day := range olderDays {
		at := olderBegin.AddDate(0, 0, day)
		for i := range 3 {
			inbox.deliver(olderBody(day, i, 200))
		}
		if day%3 == 0 { // into a pack
			inbox.deliver(olderBody(day, 3, 4000))
		}
		if day >= 3 {
			first := uint32(3*(day-3) + (day-1)/3 + 1) // of three days ago
			inbox.expunge(first, first+1)
			inbox.flag(first+2, `\Seen`)
		}
		if day >= 6 && day%3 == 0 {
			large := uint32(3*(day-6) + (day-4)/3 + 4)
			inbox.expunge(large-1, large)
		}
		fn(at, uint64(2*day+1), inbox, []*box{inbox, work})
		work.deliver(olderBody(day, 4, 300))
		if day%4 == 3 {
			work.expunge(work.lastUID - 2)
		}
		fn(at.Add(5*time.Hour), uint64(2*day+2), work, []*box{inbox, work})
	}
}

func olderBody(day, i, n int) []byte {
	b := fmt.Appendf(nil, "From: a@example.org\r\nSubject: day %d, message %d\r\n\r\n", day, i)
	return append(b, strings.Repeat("the same line\r\n", n/15)...)
}

// TestWriteOlder writes the repository.
func TestWriteOlder(t *testing.T) {
	file := os.Getenv("OLDER")
	if file == "" {
		t.Skip("OLDER is not set")
	}
	now := olderBegin
	s := memstore.New(func() time.Time { return now })
	var h *host
	olderMail(func(at time.Time, n uint64, changed *box, _ []*box) {
		now = at
		if n%20 == 1 { // a host with an empty index, so that checkpoints are read, too
			if h != nil {
				h.stop()
			}
			h = newOlderHost(t, s, func() time.Time { return now })
		}
		h.do(changed.sync)
		m, err := history.Load(t.Context(), s, "user/anne", history.Moment{})
		if err != nil || m.Tip().Number != n {
			t.Fatalf("commit %d, want %d: %v", m.Tip().Number, n, err)
		}
	})
	h.stop()
	writeTar(t, s, file)
}

func newOlderHost(t *testing.T, s objstore.Store, clock func() time.Time) *host {
	t.Helper()
	x, err := index.Open(filepath.Join(t.TempDir(), "index"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	set, err := partitions.Open(partitions.Options{
		Partitions: []repository.Config{{Name: "default", Location: "test", Store: s}},
		Index:      x, Host: "host", Software: "older", CheckpointObject: 7, InlineLimit: 2000, Now: clock, ClockPause: time.Nanosecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &host{t: t, store: s, set: set, stop: func() {
		if err := errors.Join(set.Close(), x.Close()); err != nil {
			t.Error(err)
		}
	}}
}

// writeTar writes all objects, with their times.
func writeTar(t *testing.T, s *memstore.Store, file string) {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		body := s.Bytes(info.Key)
		err = w.WriteHeader(&tar.Header{Name: info.Key, Mode: 0o600, Size: int64(len(body)), ModTime: info.Modified})
		if err == nil {
			_, err = w.Write(body)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close(), os.WriteFile(file, b.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
}
