package index_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cyrusbackup/backupd/index"
)

// records fills a mailbox with n records.
func records(t testing.TB, x *index.Index, n uint32) {
	t.Helper()
	err := x.UpdateLong(func(txn *index.Txn) error {
		for i := range n {
			if err := txn.Set(index.RecordKey(1, "u", i), fmt.Append(nil, i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestGetAll(t *testing.T) {
	x := open(t, t.TempDir())
	defer x.Close()
	records(t, x, 10)
	boom := errors.New("boom")
	uids := []uint32{7, 3, 12, 3, 9}
	var keys []index.Key
	for _, u := range uids {
		keys = append(keys, index.RecordKey(1, "u", u))
	}
	var visited []int
	err := x.View(func(txn *index.Txn) error {
		return txn.GetAll(keys, func(i int, v []byte) error {
			visited = append(visited, i)
			if string(v) != fmt.Sprint(uids[i]) {
				return fmt.Errorf("uid %d has the value %q", uids[i], v)
			}
			if len(visited) == 4 {
				return boom
			}
			return nil
		})
	})
	if !errors.Is(err, boom) {
		t.Error(err)
	}
	slices.Sort(visited[:2]) // the same key
	if want := []int{1, 3, 0, 4}; !slices.Equal(visited, want) {
		t.Errorf("visited %v, want %v", visited, want)
	}
}

func TestValue(t *testing.T) {
	x := open(t, t.TempDir())
	defer x.Close()
	records(t, x, 1)
	boom := errors.New("boom")
	err := x.View(func(txn *index.Txn) error {
		if err := txn.Value(index.RecordKey(1, "u", 1), func([]byte) error { return boom }); !errors.Is(err, index.ErrNotFound) {
			t.Errorf("missing key: %v", err)
		}
		return txn.Value(index.RecordKey(1, "u", 0), func(v []byte) error {
			if string(v) != "0" {
				t.Errorf("value %q", v)
			}
			return boom
		})
	})
	if !errors.Is(err, boom) {
		t.Error(err)
	}
}

// A transaction can write while it ranges over many entries, and sees its earlier writes.
func TestRangeWhileWriting(t *testing.T) {
	x := open(t, t.TempDir())
	defer x.Close()
	const n = 10_000
	records(t, x, n)
	seen := 0
	err := x.UpdateLong(func(txn *index.Txn) error {
		for e, err := range txn.Range(index.RecordPrefix(1, "u"), nil) {
			if err != nil {
				return err
			}
			if string(e.Value) != fmt.Sprint(seen) {
				return fmt.Errorf("entry %d has the value %q", seen, e.Value)
			}
			if err := txn.Delete(slices.Clone(e.Key)); err != nil {
				return err
			}
			seen++
		}
		for e, err := range txn.Range(index.RecordPrefix(1, "u"), nil) {
			return errors.Join(err, fmt.Errorf("entry %q is left", e.Key))
		}
		return nil
	})
	if err != nil || seen != n {
		t.Error(seen, err)
	}
}

// Reading a range allocates nothing per entry.
func TestRangeAllocations(t *testing.T) {
	x := open(t, t.TempDir())
	defer x.Close()
	const n = 2000
	records(t, x, n)
	allocs := testing.AllocsPerRun(5, func() {
		err := x.View(func(txn *index.Txn) error {
			for _, err := range txn.Range(index.RecordPrefix(1, "u"), nil) {
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	if allocs > n/10 {
		t.Errorf("%.0f allocations for %d entries", allocs, n)
	}
}

func TestInParallel(t *testing.T) {
	x := open(t, t.TempDir())
	defer x.Close()
	for _, n := range []int{0, 1, 600, 10_000} {
		seen := make([]int32, n)
		bad := errors.New("bad")
		err := x.View(func(txn *index.Txn) error {
			return txn.InParallel(n, func(from, to int) error {
				for i := from; i < to; i++ {
					seen[i]++
				}
				if to == n {
					return bad
				}
				return nil
			})
		})
		if !errors.Is(err, bad) {
			t.Errorf("%d: %v", n, err)
		}
		for i, c := range seen {
			if c != 1 {
				t.Fatalf("lookup %d of %d ran %d times", i, n, c)
			}
		}
	}
}
