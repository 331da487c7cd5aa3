package partitions_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
)

// crash is a moment at which the process dies, with the content of its disk and of the bucket.
type crash struct {
	what  string
	dir   string // a copy of the index
	store *memstore.Store
	story *story
	step  int       // in progress at the crash
	log   io.Writer // of the restarted process; may be nil
}

// copyIndex copies the files of an index that is in use, as a process finds them that starts
// after the other one was killed. Database files are mostly holes.
//
// The copy is not atomic: a table that Badger is writing may come out as zeros, which no kill
// leaves on a disk. Such a copy is repeated.
func copyIndex(t *testing.T, from, to string) {
	t.Helper()
	for range 200 {
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
		copyFiles(t, from, to)
		if tablesAreWhole(t, to) {
			return
		}
	}
	t.Fatal("no copy of the index is complete")
}

// tablesAreWhole checks the last word of each table, which is the length of its checksum.
func tablesAreWhole(t *testing.T, dir string) bool {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tables {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) < 4 || bytes.Equal(b[len(b)-4:], make([]byte, 4)) {
			return false
		}
	}
	return true
}

func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() == "LOCK" {
			continue // the system releases the lock with the process
		}
		err := copySparse(filepath.Join(from, f.Name()), filepath.Join(to, f.Name()))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // removed meanwhile
			t.Fatal(err)
		}
	}
}

func copySparse(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	for at := int64(0); ; {
		data, err := in.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) { // only a hole is left
			size, err := in.Seek(0, io.SeekEnd)
			return errors.Join(err, out.Truncate(size), out.Close())
		}
		if err != nil {
			return errors.Join(err, out.Close())
		}
		if at, err = in.Seek(data, seekHole); err != nil {
			return errors.Join(err, out.Close())
		}
		_, err = io.Copy(io.NewOffsetWriter(out, data), io.NewSectionReader(in, data, at-data))
		if err != nil {
			return errors.Join(err, out.Close())
		}
	}
}

// The whence values of lseek(2) for holes.
const (
	seekData = 3
	seekHole = 4
)

func (s *story) clone() *story {
	c := *s
	for _, b := range []**source{&c.inbox, &c.work, &c.big, &c.bert, &c.cora} {
		*b = (*b).clone()
	}
	return &c
}

// patience is how long hosts of tests wait for a store that answers: a busy machine copies a store
// within it.
const patience = 30 * time.Second

// reopen starts a host on the index of a crash.
func reopen(t *testing.T, c crash) *host {
	t.Helper()
	h := storyHost(t, patience, c.store)
	h.stop()
	h.dir = c.dir
	if c.log != nil {
		h.opt.Logger = slog.New(slog.NewTextHandler(c.log, nil))
	}
	h.start()
	return h
}

// The process dies at its storage calls, before and after they take effect, and before and
// after its index transactions. After a restart, everything that was answered with OK is there,
// and the client can continue.
func TestDiesAnywhere(t *testing.T) {
	t.Parallel()
	store := withRepository(t)
	h := storyHost(t, patience, store)
	h.stop()
	s := newStory(1)
	dir := t.TempDir()
	step := 0
	var mu sync.Mutex
	inside := false
	var crashes []crash
	events := 0
	die := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		if inside || t.Context().Err() != nil { // the test has failed meanwhile
			return
		}
		if events++; events%(5+stride()) != 0 {
			return
		}
		inside = true
		c := crash{what, filepath.Join(dir, fmt.Sprint(events)), newStore(), s.clone(), step, nil}
		mu.Unlock()
		copyIndex(t, h.dir, c.dir)
		copyStore(t, store, c.store, nil) // after the index: all that the index contains is in the bucket, but not vice versa
		mu.Lock()
		inside = false
		crashes = append(crashes, c)
	}
	h.beforeCommit = func() { die("index") }
	h.start()
	hook := func(when string) memstore.Fault {
		return func(op, key string) error { die(when + " " + op + " " + key); return nil }
	}
	store.SetFaults(hook("before"), hook("after"))
	for i := range steps {
		mu.Lock()
		step = i // the last one also while the host stops
		mu.Unlock()
		steps[i].change(s)
		if err := s.send(h, i); err != nil {
			t.Fatal(err)
		}
	}
	store.SetFaults(nil, nil)
	h.stop()
	if len(crashes) < 10 {
		t.Fatalf("only %d events", events)
	}
	for _, c := range crashes {
		h := reopen(t, c)
		if err := c.story.send(h, c.step); err != nil {
			t.Fatalf("%s in step %s: the client tries again: %v", c.what, steps[c.step].name, err)
		}
		if _, err := c.story.run(h, c.step+1); err != nil {
			t.Fatalf("%s in step %s: %v", c.what, steps[c.step].name, err)
		}
		c.story.check(h, c.store, len(steps))
		h.stop()
		if err := os.RemoveAll(c.dir); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.Fatalf("died at %s in step %s", c.what, steps[c.step].name)
		}
	}
}

// many is a mailbox with n records of few messages: large for the index, small for the bucket.
func many(name string, n int) *source {
	m := newSource(name)
	for i := range n {
		m.deliverLong(mail(i%40, 300))
	}
	return m
}

// deliverLong delivers a message whose record takes many bytes of the index. A transaction of
// the index holds about 1,500 such records.
func (m *source) deliverLong(body []byte) {
	r := m.deliver(body)
	r.Annotations = []cyrus.Annotation{{Entry: "/comment", Value: ptr(strings.Repeat("annotation ", 70))}}
}

// A commit is larger than a transaction of the index, and the process dies between two
// transactions: the commit is applied again, and the counts are right.
func TestDiesDuringLargeCommit(t *testing.T) {
	t.Parallel()
	n := 5_000
	if stride() > 1 {
		n = 3_500 // still more than two transactions
	}
	store := withRepository(t)
	h := storyHost(t, patience, store)
	h.sync("somebody", newSource("user.somebody")) // the index knows the repository
	dir := t.TempDir()
	all := many("user.anne", n)
	flagged := all.clone()
	for i, r := range flagged.records {
		c := *r
		c.ModSeq, c.Flags = flagged.modseq+1, []string{`\Seen`}
		flagged.records[i] = &c
	}
	flagged.modseq++
	// The source was restored from nothing: a complete set of one record, which is a tiny
	// commit, sweeps all other records.
	swept := newSource("user.anne")
	swept.deliver(mail(0, 300))
	for i, box := range []*source{all, flagged, swept} {
		var mu sync.Mutex
		var copies []string
		h.stop()
		h.beforeCommit = func() {
			mu.Lock()
			defer mu.Unlock()
			at := filepath.Join(dir, fmt.Sprint(i, ".", len(copies)))
			copyIndex(t, h.dir, at)
			copies = append(copies, at)
		}
		h.start()
		for range 2 { // swept: the first sync detects the change, the second sends the mailbox whole
			c := h.client()
			if _, err := c.sync("anne", box); err != nil {
				t.Fatal(err)
			}
			c.s.Close()
		}
		h.checkIndex("anne", box)
		h.expectSame("anne", box)
		if err := box.differs(load(t, store, "user/anne")); err != nil {
			t.Fatal(err)
		}
		h.stop()
		again := func(at string) bool {
			var log bytes.Buffer
			h2 := reopen(t, crash{dir: at, store: store, log: &log})
			h2.checkIndex("anne", box)
			h2.expectSame("anne", box)
			h2.stop()
			return strings.Contains(log.String(), "it is applied again")
		}
		slices.Reverse(copies) // the last copies are in the middle of the commit
		if !slices.ContainsFunc(copies, again) {
			t.Fatalf("state %d: none of %d copies of the index was in the middle of a commit", i, len(copies))
		}
	}
}

// The process dies while it rebuilds the index.
func TestDiesDuringRebuild(t *testing.T) {
	t.Parallel()
	store := withRepository(t)
	h := storyHost(t, patience, store)
	box, other := many("user.anne", 10_000), newSource("user.anne.Other")
	h.sync("anne", box, other)
	for i := range 4 {
		other.deliver(mail(100+i, 400))
		h.sync("anne", box, other)
	}
	m := load(t, store, "user/anne")
	if _, err := m.WriteCheckpoint(t.Context(), h.opt.Pack); err != nil {
		t.Fatal(err)
	}
	// The first commits are deleted, as after retention: only the checkpoint contains their
	// state.
	for n := uint64(1); n <= 3; n++ {
		if err := store.Delete(t.Context(), "backups/user/anne/log/"+fmt.Sprintf("%016d.tar.zst", n)); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	h.stop()
	if err := os.RemoveAll(h.dir); err != nil {
		t.Fatal(err)
	}
	var dirs []string
	h.beforeCommit = func() {
		d := filepath.Join(dir, fmt.Sprint(len(dirs)))
		copyIndex(t, h.dir, d)
		dirs = append(dirs, d)
	}
	h.start()
	h.checkIndex("anne", box, other)
	h.stop()
	if len(dirs) < 5 {
		t.Fatalf("the rebuild took only %d transactions", len(dirs))
	}
	for i, d := range dirs {
		if len(dirs) > 12 && i%(1+stride()) != 0 && i != len(dirs)/2 {
			continue
		}
		h := reopen(t, crash{dir: d, store: store})
		h.expectSame("anne", box, other)
		if i == len(dirs)/2 {
			h.checkIndex("anne", box, other)
		}
		h.stop()
		if t.Failed() {
			t.Fatalf("before transaction %d of the rebuild", i)
		}
	}
}

// The process died in the middle of a commit, and the bucket was restored to the state before
// that commit: the host rebuilds the index and does not try the missing commit forever.
func TestDiesDuringLostCommit(t *testing.T) {
	t.Parallel()
	store := withRepository(t)
	h := storyHost(t, patience, store)
	box := newSource("user.anne")
	box.deliver(mail(0, 300))
	h.sync("anne", box)
	old := box.clone()
	h.stop()
	var at string
	parts := 0
	h.beforeCommit = func() {
		if parts++; parts == 3 {
			at = filepath.Join(t.TempDir(), "index")
			copyIndex(t, h.dir, at)
		}
	}
	h.start()
	for i := range 8_000 {
		box.deliverLong(mail(i%40, 300))
	}
	parts = 0
	h.sync("anne", box)
	h.stop()
	gone := objects(t, store, "backups/user/anne/log/")[1:]
	for _, key := range gone {
		if err := store.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	h2 := reopen(t, crash{dir: at, store: store, log: &log})
	h2.expectSame("anne", old)
	if !strings.Contains(log.String(), "it is applied again") {
		t.Errorf("the copy of the index was not in the middle of a commit:\n%s", &log)
	}
}
