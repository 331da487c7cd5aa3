package observe_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/objstoretest"
	"github.com/cyrusbackup/backupd/objstore/observe"
)

func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(testing.TB) objstore.Store {
		return observe.New(memstore.New(nil), new(observe.Counter).Hooks())
	})
}

// use makes some calls of each kind: 3 puts of 4 bytes (one refused), a get of 3 bytes, a
// stat of a missing object, a list of two keys, a delete.
func use(t *testing.T, s objstore.Store) {
	t.Helper()
	for _, put := range []struct {
		key  string
		want error
	}{{"a", nil}, {"b", nil}, {"a", objstore.ErrExist}} {
		_, err := s.Put(t.Context(), put.key, bytes.NewReader([]byte("body")), objstore.PutOptions{IfAbsent: true})
		if !errors.Is(err, put.want) {
			t.Fatalf("put: %v, want %v", err, put.want)
		}
	}
	obj, err := s.Get(t.Context(), "a", 1, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, obj); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := obj.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Stat(t.Context(), "none"); err == nil {
		t.Error("stat of nothing")
	}
	for _, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
}

func TestCounter(t *testing.T) {
	var c observe.Counter
	use(t, observe.New(memstore.New(nil), c.Hooks()))
	got := c.Snapshot()
	for op, want := range map[string]observe.Count{
		"put":    {Ops: 3, Requests: 3, Failed: 1, Bytes: 12},
		"get":    {Ops: 1, Requests: 1, Bytes: 3},
		"stat":   {Ops: 1, Requests: 1, Failed: 1},
		"list":   {Ops: 1, Requests: 1},
		"delete": {Ops: 1, Requests: 1},
	} {
		if got[op] != want {
			t.Errorf("%s: %+v, want %+v", op, got[op], want)
		}
	}
	c.Reset()
	if n := len(c.Snapshot()); n != 0 {
		t.Errorf("%d operations after Reset", n)
	}
	for keys, want := range map[int]int{0: 1, 1: 1, 1000: 1, 1001: 2, 2500: 3} {
		if n := (observe.Event{Keys: keys}).Requests(); n != want {
			t.Errorf("a list of %d keys is %d requests, want %d", keys, n, want)
		}
	}
}
