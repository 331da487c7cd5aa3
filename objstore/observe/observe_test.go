package observe_test

import (
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

func TestVersions(t *testing.T) {
	objstoretest.RunVersioned(t, func(testing.TB) objstore.Store {
		return observe.New(memstore.NewVersioned(nil), new(observe.Counter).Hooks())
	})
}

func TestCounter(t *testing.T) {
	var c observe.Counter
	objstoretest.Use(t, observe.New(memstore.New(nil), c.Hooks()))
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
