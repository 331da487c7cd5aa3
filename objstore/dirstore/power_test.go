package dirstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// writer writes commits, packs and locks, and records the successful calls.
type writer struct {
	t    *testing.T
	s    *Store
	done map[string]string
}

const writerTries = 6

// commit puts an object that must not exist, and reads it back after an unclear answer.
func (w *writer) commit(key, text string) {
	for range writerTries {
		_, err := w.s.Put(w.t.Context(), key, strings.NewReader(text), objstore.PutOptions{IfAbsent: true})
		if err == nil {
			w.done[key] = text
			return
		}
		if there, err := w.read(key); err == nil {
			if there == text {
				w.done[key] = text
			}
			return
		}
	}
}

// pack puts an object whose key determines its content.
func (w *writer) pack(key, text string, o objstore.PutOptions) {
	for range writerTries {
		_, err := w.s.Put(w.t.Context(), key, strings.NewReader(text), o)
		if err == nil || errors.Is(err, objstore.ErrExist) {
			w.done[key] = text
			return
		}
	}
}

// lock replaces an object, and reads it back after an unclear answer.
func (w *writer) lock(key, text string) {
	for range writerTries {
		info, err := w.s.Stat(w.t.Context(), key)
		if err != nil {
			continue
		}
		delete(w.done, key) // from here on either version may exist
		_, err = w.s.Put(w.t.Context(), key, strings.NewReader(text), objstore.PutOptions{IfMatch: info.ETag})
		if err == nil {
			w.done[key] = text
			return
		}
		if there, err := w.read(key); err == nil && there == text {
			w.done[key] = text
			return
		}
	}
}

func (w *writer) read(key string) (string, error) {
	obj, err := w.s.Get(w.t.Context(), key, 0, -1)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(obj)
	return string(text), errors.Join(err, obj.Close())
}

func (w *writer) work() {
	w.commit("repository.json", "r")
	w.pack("packs/ab/1", "pack", objstore.PutOptions{})
	w.pack("packs/ab/1", "pack", objstore.PutOptions{IfAbsent: true})
	w.pack("packs/cd/2", "another pack", objstore.PutOptions{IfAbsent: true})
	w.commit("backups/user/anne/backup.json", "b")
	w.commit("backups/user/anne/log/1", "one")
	w.commit("backups/user/anne/log/2", "two")
	w.commit("lock.json", "free")
	w.lock("lock.json", "held")
}

// lost compares the successful calls with the state after a power cut.
func (w *writer) lost(d *disk, what string) {
	w.t.Helper()
	for key, text := range w.done {
		if left, ok := d.left(key); !ok || left != text {
			w.t.Errorf("%s: %s was answered OK as %q, and a power cut leaves %q, %v", what, key, text, left, ok)
		}
	}
}

// TestFailedFsync makes fsyncs fail, each in turn: no successful call is lost, and in the
// end every call succeeds.
func TestFailedFsync(t *testing.T) {
	for many := 1; many <= 4; many++ {
		for first := 1; ; first++ {
			d := newDisk(t)
			d.fail = func(n int, _ string) bool { return n >= first && n < first+many }
			w := &writer{t: t, s: d.process(), done: map[string]string{}}
			w.work()
			w.lost(d, fmt.Sprintf("fsyncs %d to %d fail", first, first+many-1))
			if !maps.Equal(w.done, workDone()) {
				t.Errorf("fsyncs %d to %d fail: OK are %v", first, first+many-1, w.done)
			}
			if d.fsyncs < first {
				if first < 15 {
					t.Errorf("only %d fsyncs", d.fsyncs)
				}
				break
			}
		}
	}
}

// TestFsyncAlwaysFails: no call succeeds.
func TestFsyncAlwaysFails(t *testing.T) {
	for first := 1; first <= 12; first++ {
		d := newDisk(t)
		d.fail = func(n int, _ string) bool { return n > first }
		w := &writer{t: t, s: d.process(), done: map[string]string{}}
		w.work()
		w.lost(d, fmt.Sprintf("after %d fsyncs all fail", first))
	}
}

// TestKilled kills a process at each of its system calls. The next process finds objects
// that were not synced, and reports success only for durable objects.
func TestKilled(t *testing.T) {
	for name, use := range map[string]func(w *writer){
		"stat": func(w *writer) {
			for key, text := range workDone() {
				if _, err := w.s.Stat(t.Context(), key); err == nil && key != "lock.json" {
					w.done[key] = text
				}
			}
		},
		"get": func(w *writer) {
			for key := range workDone() {
				if text, err := w.read(key); err == nil {
					w.done[key] = text
				}
			}
		},
		"put": (*writer).work,
	} {
		t.Run(name, func(t *testing.T) {
			for at, over := 1, false; !over; at++ {
				d := newDisk(t)
				first := &writer{t: t, s: d.process(), done: map[string]string{}}
				d.killAt = d.calls + at
				first.work()
				over = d.calls < d.killAt
				d.killAt = 0
				what := fmt.Sprintf("killed at call %d", at)
				first.lost(d, what)
				second := &writer{t: t, s: d.process(), done: map[string]string{}}
				use(second)
				second.lost(d, what+", then seen by another process")
			}
		})
	}
}

// workDone is the result of work.
func workDone() map[string]string {
	return map[string]string{"repository.json": "r", "packs/ab/1": "pack", "packs/cd/2": "another pack", "backups/user/anne/backup.json": "b",
		"backups/user/anne/log/1": "one", "backups/user/anne/log/2": "two", "lock.json": "held"}
}

// TestFsyncFailsForAnother: the failed fsync of one call drops the object of another.
func TestFsyncFailsForAnother(t *testing.T) {
	d := newDisk(t)
	s := d.process()
	(&writer{t: t, s: s, done: map[string]string{}}).commit("d/0", "0")
	linked, failing := make(chan struct{}), make(chan struct{})
	var once sync.Once
	dir := s.path("d")
	d.during = func(name, path string) {
		switch {
		case name == "link" && path == s.path("d/2"):
			once.Do(func() { close(linked) })
		case name == "fsync" && path == dir:
			d.mu.Lock()
			first := d.fail == nil
			if first {
				failed := false
				d.fail = func(_ int, path string) bool {
					if path != dir || failed {
						return false
					}
					failed = true
					return true
				}
			}
			d.mu.Unlock()
			if first {
				close(failing)
				select {
				case <-linked:
				case <-time.After(50 * time.Millisecond):
				}
			}
		}
	}
	var wg sync.WaitGroup
	two := &writer{t: t, s: s, done: map[string]string{}}
	wg.Go(func() { (&writer{t: t, s: s, done: map[string]string{}}).commit("d/1", "1") })
	<-failing
	wg.Go(func() { two.pack("d/2", "2", objstore.PutOptions{IfAbsent: true}) })
	wg.Wait()
	two.lost(d, "another fsync of the directory failed")
	if len(two.done) == 0 {
		t.Error("no put was OK")
	}
}

// TestKnownIsNotSynced: objects that this process put, and old objects, cost no fsync.
func TestKnownIsNotSynced(t *testing.T) {
	d := newDisk(t)
	s := d.process()
	w := &writer{t: t, s: s, done: map[string]string{}}
	w.work()
	other := d.process()
	was := d.fsyncs
	look := func(s *Store) {
		for key := range w.done {
			if _, err := s.Stat(t.Context(), key); err != nil {
				t.Error(err)
			}
			if _, err := (&writer{t: t, s: s}).read(key); err != nil {
				t.Error(err)
			}
		}
	}
	look(s)
	if d.fsyncs != was {
		t.Errorf("%d fsyncs for what this process put", d.fsyncs-was)
	}
	look(other)
	once := d.fsyncs - was
	if look(other); once == 0 || d.fsyncs-was != once {
		t.Errorf("%d fsyncs for what another process put, then %d", once, d.fsyncs-was)
	}
	third := d.process()
	c, cancel := newCall(t.Context(), third)
	defer cancel()
	was = d.fsyncs
	st, err := os.Stat(s.path("lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := third.settle(c, "lock.json", st, time.Now().Add(settledAge+time.Minute)); err != nil || d.fsyncs != was {
		t.Errorf("an old object: %d fsyncs, %v", d.fsyncs-was, err)
	}
}

// TestRewriteKeepsTheObject: its bytes, its times, and therefore its ETag.
func TestRewriteKeepsTheObject(t *testing.T) {
	s := newStore(t)
	text := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	before, err := s.Put(t.Context(), "a/b", bytes.NewReader(text), objstore.PutOptions{IfAbsent: true})
	if err != nil {
		t.Fatal(err)
	}
	was := inode(t, s.path("a/b"))
	c, cancel := newCall(t.Context(), s)
	defer cancel()
	if err := s.rewrite(c, "a/b"); err != nil {
		t.Fatal(err)
	}
	got, err := (&writer{t: t, s: s}).read("a/b")
	if err != nil || got != string(text) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	after, err := s.Stat(t.Context(), "a/b")
	if err != nil || after.ETag != before.ETag || inode(t, s.path("a/b")) == was {
		t.Errorf("%+v before, %+v after, %v", before, after, err)
	}
	left, err := filepath.Glob(filepath.Join(s.path(hidden), tempPattern))
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
