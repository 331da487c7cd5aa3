package attestation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// crowd is a store with n backups of one commit each. It notes how much of the heap is in use.
type crowd struct {
	*memstore.Store
	n       int
	commits [][]byte
	gets    atomic.Int64
	mu      sync.Mutex
	heap    []uint64
}

func newCrowd(t *testing.T, s *memstore.Store, n int) *crowd {
	c := &crowd{Store: s, n: n}
	for i := range n {
		h := history.Header{Backup: c.user(i), Number: 1, Time: noon, Host: "b1", Clock: noon, Random: strings.Repeat("0", 32)}
		b, _, err := history.NewBuilder(h, pack.Options{Random: zeros{}}).Finish(nil)
		if err != nil {
			t.Fatal(err)
		}
		c.commits = append(c.commits, bytes.Clone(b))
	}
	return c
}

func (c *crowd) user(i int) string { return fmt.Sprintf("user/u%07d", i) }

func (c *crowd) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	if !strings.HasPrefix(prefix, "backups/") {
		return c.Store.List(ctx, prefix, after)
	}
	return func(yield func(objstore.Info, error) bool) {
		first := 0
		if n, err := strconv.Atoi(strings.SplitN(strings.TrimPrefix(after, "backups/user/u"), "/", 2)[0]); err == nil {
			first = n
		}
		for i := first; i < c.n; i++ {
			path := c.user(i)
			for _, key := range []string{repository.BackupInfoKey(path), history.LogKey(path, 1)} {
				if key > after && strings.HasPrefix(key, prefix) && !yield(objstore.Info{Key: key, Size: 500, ETag: "e", Modified: noon, StoreTime: noon}, nil) {
					return
				}
			}
		}
	}
}

func (c *crowd) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	if !strings.HasPrefix(key, "backups/") {
		return c.Store.Get(ctx, key, off, n)
	}
	c.measure()
	path := strings.Join(strings.SplitN(key, "/", 4)[1:3], "/")
	id := fmt.Sprintf("%x", sha256.Sum256([]byte(path)))
	b, err := json.Marshal(repository.BackupInfo{Version: 1, Name: strings.TrimPrefix(path, "user/"), Kind: repository.KindUser, Created: noon, ID: id[:32]})
	i, aerr := strconv.Atoi(strings.TrimPrefix(path, "user/u"))
	if err := errors.Join(err, aerr); err != nil {
		return nil, err
	}
	if key != repository.BackupInfoKey(path) {
		b = c.commits[i]
	}
	info := objstore.Info{Key: key, Size: int64(len(b)), ETag: "e", Modified: noon, StoreTime: noon}
	if off < 0 {
		off = max(0, info.Size+off)
	}
	b = b[min(off, info.Size):]
	if n >= 0 && n < int64(len(b)) {
		b = b[:n]
	}
	return &objstore.Object{ReadCloser: io.NopCloser(bytes.NewReader(b)), Info: info}, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// measure notes the heap that is in use, every now and then.
func (c *crowd) measure() {
	if c.gets.Add(1)%100 != 0 {
		return
	}
	now := heapInUse()
	c.mu.Lock()
	c.heap = append(c.heap, now)
	c.mu.Unlock()
}

// growth returns how much more of the heap is in use in the last quarter of a run than in the first, on average, and
// begins a new run.
func (c *crowd) growth() int64 {
	n := len(c.heap) / 4
	average := func(of []uint64) (sum int64) {
		for _, b := range of {
			sum += int64(b)
		}
		return sum / int64(max(1, len(of)))
	}
	grown := average(c.heap[len(c.heap)-n:]) - average(c.heap[:n])
	c.heap = nil
	return grown
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// The memory that is in use while a list is made or compared does not grow with the number of backups.
func TestMemoryOfManyBackups(t *testing.T) {
	const n = 2_000
	w := newWorld(t)
	c := newCrowd(t, w.store, n)
	var f findings
	o := w.options(&f)
	o.Outside = nil
	for name, fn := range map[string]func() (*Result, error){
		"seal":   func() (*Result, error) { return Seal(t.Context(), w.config(c), w.key, o) },
		"verify": func() (*Result, error) { return Verify(t.Context(), w.config(c), nil, o) },
	} {
		if name == "verify" && len(w.store.Keys(Prefix)) == 0 {
			if _, err := Seal(t.Context(), w.config(c), w.key, o); err != nil {
				t.Fatal(err)
			}
			c.growth()
		}
		w.now = w.now.AddDate(0, 0, 1)
		r, err := fn()
		if err != nil || len(f) > 0 || r.Backups != n || r.Gone != 0 {
			t.Fatalf("%s: %+v, %v, %.3q", name, r, err, f)
		}
		grown := c.growth()
		t.Logf("%s: the heap has grown by %d KiB during %d backups", name, grown>>10, n)
		if grown > 1<<20 {
			t.Errorf("%s: the heap has grown by %d KiB during %d backups", name, grown>>10, n)
		}
	}
}

// A list of backups that have not changed costs no request for any of them, and a comparison one: the commit. Without ETags
// that can be trusted, a list costs two.
func TestRequestsForUnchangedBackups(t *testing.T) {
	const n = 300
	w := newWorld(t)
	c := newCrowd(t, w.store, n)
	var f findings
	o := w.options(&f)
	o.Outside = nil
	seal := func() error { _, err := Seal(t.Context(), w.config(c), w.key, o); return err }
	for i, step := range []struct {
		most int64
		fn   func() error
	}{
		{3 * n, seal}, {0, seal},
		{n, func() error { _, err := Verify(t.Context(), w.config(c), nil, o); return err }},
		{0, seal},
		{2 * n, func() error { o.TrustETags = false; return seal() }},
	} {
		w.now = w.now.AddDate(0, 0, 1)
		before := c.gets.Load()
		if err := step.fn(); err != nil || len(f) > 0 {
			t.Fatalf("step %d: %v, %.3q", i, err, f)
		}
		if did := c.gets.Load() - before; did > step.most {
			t.Errorf("step %d: %d requests for %d backups, want at most %d", i, did, n, step.most)
		}
	}
}
