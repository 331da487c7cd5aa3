package index

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// waitForFilter waits until the filter has the keys of an index that was opened.
func waitForFilter(t testing.TB, x *Index) {
	t.Helper()
	for !x.filter.complete.Load() {
		if t.Context().Err() != nil {
			t.Fatal("the filter is never complete")
		}
		runtime.Gosched()
	}
}

const filterKeys = 400

// filterKey is one of the keys of messages, of two backups and two partitions.
func filterKey(n int) Key {
	g := cyrus.GUID{byte(n), byte(n >> 8)}
	switch n % 4 {
	case 0:
		return MessageKey(1, g[:])
	case 1:
		return MessageKey(2, g[:])
	case 2:
		return SharedKey("a", g[:])
	}
	return SharedKey("b", g[:])
}

// filterModel compares an index that has a filter with a map.
type filterModel struct {
	*testing.T
	rnd  *rand.Rand
	opt  Options
	dir  string
	x    *Index
	want map[string][]byte
}

// TestFilterIsNeverWrong writes in short and long transactions, deletes, drops backups and
// partitions, and opens the index in new processes, which read the keys in the background while
// others are written.
func TestFilterIsNeverWrong(t *testing.T) {
	for _, memory := range []int64{1, 1 << 20} {
		seed := rand.Uint64()
		t.Logf("seed %d, %d bytes", seed, memory)
		m := &filterModel{
			T: t, rnd: rand.New(rand.NewPCG(seed, 0)), opt: Options{FilterMemory: memory},
			dir: filepath.Join(t.TempDir(), "index"), want: map[string][]byte{},
		}
		m.open()
		for range 100 {
			m.step()
			for range 20 {
				m.check(filterKey(m.rnd.IntN(filterKeys)))
			}
		}
		if err := m.x.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *filterModel) open() {
	var err error
	if m.x, err = Open(m.dir, m.opt); err != nil {
		m.Fatal(err)
	}
	if m.rnd.IntN(2) == 0 {
		waitForFilter(m, m.x)
	}
}

func (m *filterModel) step() {
	switch m.rnd.IntN(40) {
	case 0:
		if err := m.x.Close(); err != nil {
			m.Fatal(err)
		}
		m.open()
	case 1:
		if err := errors.Join(m.x.DropBackup(1), m.x.DropPartition("b")); err != nil {
			m.Fatal(err)
		}
		for n := range filterKeys {
			if n%4 == 0 || n%4 == 3 {
				delete(m.want, string(filterKey(n)))
			}
		}
	default:
		m.write()
	}
}

func (m *filterModel) write() {
	update := m.x.Update
	if m.rnd.IntN(2) == 0 {
		update = m.x.UpdateLong
	}
	err := update(func(txn *Txn) error {
		for range 1 + m.rnd.IntN(20) {
			k, v := filterKey(m.rnd.IntN(filterKeys)), []byte{byte(m.rnd.IntN(256))}
			if m.rnd.IntN(2) == 0 {
				delete(m.want, string(k))
				if err := txn.Delete(k); err != nil {
					return err
				}
				continue
			}
			m.want[string(k)] = v
			if err := txn.Set(k, v); err != nil {
				return err
			}
			if got, err := txn.Get(k); err != nil || !bytes.Equal(got, v) {
				return fmt.Errorf("own write of %q: %q, %w", k, got, err)
			}
		}
		return nil
	})
	if err != nil {
		m.Fatal(err)
	}
}

func (m *filterModel) check(k Key) {
	var got []byte
	err := m.x.View(func(txn *Txn) error {
		return txn.Value(k, func(v []byte) error {
			got = bytes.Clone(v)
			return nil
		})
	})
	want, ok := m.want[string(k)]
	if ok != (err == nil) || !ok && !errors.Is(err, ErrNotFound) || !bytes.Equal(got, want) {
		m.Fatalf("key %q: %q, %v, want %q", k, got, err, want)
	}
}

// TestFilterSavesReads opens an index that has messages. Missing ones are then not looked up.
func TestFilterSavesReads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	reads := 0
	x, err := Open(dir, Options{FilterMemory: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	const n = 3 * filterAtOnce
	guid := func(i int) []byte { return fmt.Appendf(nil, "%020d", i) }
	err = x.UpdateLong(func(t *Txn) error {
		for i := range n {
			if err := t.Set(SharedKey("p", guid(i)), guid(i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, x.Close()); err != nil {
		t.Fatal(err)
	}
	if x, err = Open(dir, Options{FilterMemory: 1 << 20, OnRead: func(Key) { reads++ }}); err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	waitForFilter(t, x)
	err = x.View(func(txn *Txn) error {
		for i := range n {
			if has, err := txn.Has(SharedKey("p", guid(i))); err != nil || !has {
				return fmt.Errorf("message %d: %v, %w", i, has, err)
			}
		}
		reads = 0
		for i := range n {
			if has, err := txn.Has(SharedKey("p", guid(n+i))); err != nil || has {
				return fmt.Errorf("message %d: %v, %w", n+i, has, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if reads > n/20 {
		t.Errorf("%d of %d missing messages were looked up", reads, n)
	}
}
