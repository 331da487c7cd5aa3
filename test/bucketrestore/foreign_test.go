package bucketrestore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// anneWith is a backup of anne with one commit for each message.
func anneWith(t *testing.T, messages ...int) (*memstore.Store, map[string]string) {
	t.Helper()
	s := memstore.New(nil)
	h := newHost(t, s, 0)
	inbox := newBox("user.anne")
	for _, n := range messages {
		inbox.deliver(mail(n, 500))
		h.do(inbox.sync)
	}
	h.stop()
	return s, maildir(inbox)
}

// logOf returns the names and bytes of the objects of a log.
func logOf(t *testing.T, s *memstore.Store) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, key := range s.Keys(history.LogPrefix("user/anne")) {
		out[key] = s.Bytes(key)
	}
	return out
}

// putInto puts objects into a directory.
func putInto(t *testing.T, dir string, objects map[string][]byte, chosen func(key string) bool) (n int) {
	t.Helper()
	for key, b := range objects {
		if !chosen(key) {
			continue
		}
		n++
		path := filepath.Join(dir, filepath.FromSlash(key))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func isSegment(key string) bool { return strings.Contains(filepath.Base(key), "-") }

// A request to put a segment, or a single commit, can arrive in the log of another history. The script
// ignores such objects, as every reader does.
func TestForeignObjects(t *testing.T) {
	other, _ := anneWith(t, 31, 32, 33, 34, 35, 36)
	singles := logOf(t, other)
	compact(t, other, "user/anne")
	segment := logOf(t, other) // 1 to 5, or so
	env := []string{"PATH=" + tools(t), "TMPDIR=" + t.TempDir()}
	for _, c := range []struct {
		name     string
		messages []int
		merged   bool
		foreign  map[string][]byte
		chosen   func(key string) bool
	}{
		{"a segment over single commits", []int{1, 2, 3, 4, 5, 6, 7}, false, segment, isSegment},
		{"a segment beyond the end", []int{1, 2, 3}, false, segment, isSegment},
		{"single commits beside a segment", []int{1, 2, 3, 4, 5, 6, 7}, true, singles, func(key string) bool { return strings.HasSuffix(key, "3.tar.zst") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, want := anneWith(t, c.messages...)
			if c.merged {
				compact(t, s, "user/anne")
			}
			dir := t.TempDir()
			copyTo(t, s, dir)
			if putInto(t, dir, c.foreign, c.chosen) == 0 {
				t.Fatal("there is no such object")
			}
			p := &person{t, dir, env}
			compare(t, c.name, p.restore("restore", "user/anne"), want)
		})
	}
}

// During a merge, a segment and its commits exist. They are of the same history.
func TestDuringMerge(t *testing.T) {
	s, want := anneWith(t, 1, 2, 3, 4, 5, 6)
	dir := t.TempDir()
	copyTo(t, s, dir)
	compact(t, s, "user/anne")
	copyTo(t, s, dir)
	p := &person{t, dir, []string{"PATH=" + tools(t), "TMPDIR=" + t.TempDir()}}
	out, diag, err := p.run("restore", "user/anne", filepath.Join(t.TempDir(), "Maildir"))
	if err != nil || strings.Contains(diag, "ignored") {
		t.Errorf("%s%s%v", out, diag, err)
	}
	compare(t, "during a merge", p.restore("restore", "user/anne"), want)
}

// A writer that slept puts a commit that retention had removed. The log begins after the hole.
func TestCommitBeforeRetention(t *testing.T) {
	now := time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	s := memstore.New(clock)
	h := newAgedHost(t, s, clock)
	inbox := newBox("user.anne")
	for day := range 12 {
		inbox.deliver(mail(day, 500))
		h.do(inbox.sync)
		now = now.Add(24 * time.Hour)
	}
	h.stop()
	before := logOf(t, s)
	if kept := retain(t, s, clock); kept.Cut.Number < 4 {
		t.Fatalf("%+v", kept)
	}
	dir := t.TempDir()
	copyTo(t, s, dir)
	late := fmt.Sprintf("%s%016d.tar.zst", history.LogPrefix("user/anne"), 2)
	if putInto(t, dir, before, func(key string) bool { return key == late }) != 1 {
		t.Fatal("there is no such commit")
	}
	p := &person{t, dir, []string{"PATH=" + tools(t), "TMPDIR=" + t.TempDir()}}
	_, diag, err := p.run("restore", "user/anne", filepath.Join(t.TempDir(), "Maildir"))
	if err != nil || !strings.Contains(diag, "0000000000000002.tar.zst does not belong to the log") {
		t.Errorf("%v: %s", err, diag)
	}
	compare(t, "now", p.restore("restore", "user/anne"), maildir(inbox))
}
