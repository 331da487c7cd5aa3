package objstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
)

// versioned has an object with three versions and a marker between them, and one beside it.
func versioned(t *testing.T) *memstore.Store {
	t.Helper()
	m := memstore.NewVersioned(nil)
	for i, key := range []string{"a", "a", "", "a", "ab", "ab"} {
		if key == "" {
			if err := m.Delete(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if _, err := m.Put(t.Context(), key, bytes.NewReader(fmt.Append(nil, key, " ", i)), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// left counts the versions of the two objects.
func left(m *memstore.Store) (erased, beside int) {
	for key := range m.All() {
		if key == "a" {
			erased++
		} else {
			beside++
		}
	}
	return erased, beside
}

// Any request fails, or its answer is lost: never does a version become current again, and
// the next call erases everything.
func TestEraseObjectWithFaults(t *testing.T) {
	for _, lost := range []bool{false, true} {
		calls := 0
		for n := 0; ; n++ {
			m := versioned(t)
			s := faultstore.New(m)
			f := faultstore.Fault{Skip: n, Count: 1, Before: faultstore.Lost}
			if lost {
				f.Before, f.After = nil, faultstore.Lost
			}
			s.Add(f)
			err := objstore.EraseObject(t.Context(), s, "a")
			if _, serr := m.Stat(t.Context(), "a"); serr == nil && n > 2 {
				t.Errorf("call %d: the object exists", n)
			}
			if s.Struck() == 0 {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			calls++
			if err == nil {
				t.Errorf("call %d failed without an error", n)
			}
			if err := objstore.EraseObject(t.Context(), s, "a"); err != nil {
				t.Errorf("call %d: %v", n, err)
			}
			if erased, beside := left(m); erased != 0 || beside != 2 {
				t.Errorf("call %d: %d versions are left, and %d beside, want 2", n, erased, beside)
			}
		}
		if calls < 10 {
			t.Errorf("only %d calls", calls)
		}
	}
}

// Somebody puts the object again: it stays, and the caller knows.
func TestEraseObjectBesideWriter(t *testing.T) {
	for _, op := range []string{"noncurrent", "delete-version", "stat"} {
		m := versioned(t)
		s := faultstore.New(m)
		skip := 0
		if op == "stat" {
			skip = 1 // the last look
		}
		s.Add(faultstore.Fault{Match: func(o, _ string) bool { return o == op }, Skip: skip, Count: 1, Call: func(string, string) {
			if _, err := m.Put(t.Context(), "a", bytes.NewReader([]byte("new")), objstore.PutOptions{}); err != nil {
				t.Error(err)
			}
		}})
		if err := objstore.EraseObject(t.Context(), s, "a"); err == nil {
			t.Errorf("%s: no error", op)
		}
		if got := string(m.Bytes("a")); got != "new" {
			t.Errorf("%s: the new object is %q", op, got)
		}
	}
}

// A store that cannot list versions: the object is deleted, and the caller knows.
func TestEraseObjectUnsupported(t *testing.T) {
	m := memstore.New(nil)
	if _, err := m.Put(t.Context(), "a", bytes.NewReader(nil), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	s := faultstore.New(m)
	s.Add(faultstore.Fault{Match: func(op, _ string) bool { return op == "noncurrent" }, Before: func(op, key string) error {
		return &objstore.Error{Op: op, Key: key, Err: objstore.ErrUnsupported}
	}})
	if err := objstore.EraseObject(t.Context(), s, "a"); !errors.Is(err, objstore.ErrUnsupported) {
		t.Errorf("erase: %v", err)
	}
	if _, err := m.Stat(t.Context(), "a"); !errors.Is(err, objstore.ErrNotExist) {
		t.Errorf("the object: %v", err)
	}
}
