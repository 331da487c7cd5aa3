package memstore_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/objstoretest"
)

func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(testing.TB) objstore.Store { return memstore.New(nil) })
}

func TestVersions(t *testing.T) {
	objstoretest.RunVersioned(t, func(testing.TB) objstore.Store { return memstore.NewVersioned(nil) })
}

// TestRetain: a retained version can be removed once its time has passed.
func TestRetain(t *testing.T) {
	now := time.Unix(1000, 0)
	m := memstore.NewVersioned(func() time.Time { return now })
	for _, text := range []string{"one", "two"} {
		if _, err := m.Put(t.Context(), "k", bytes.NewReader([]byte(text)), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	until := now.Add(time.Hour)
	m.Retain("k", until)
	err := objstore.EraseObject(t.Context(), m, "k")
	var retained *objstore.RetainedError
	if !errors.As(err, &retained) || !errors.Is(err, objstore.ErrRetained) || !retained.Until.Equal(until) {
		t.Errorf("erase: %v, want retained until %v", err, until)
	}
	left := func() (out []string) {
		for key, b := range m.All() {
			out = append(out, key+" "+string(b))
		}
		return out
	}
	if got := left(); len(got) != 1 || got[0] != "k two" {
		t.Errorf("left: %q", got)
	}
	now = until
	if err := objstore.EraseObject(t.Context(), m, "k"); err != nil || len(left()) != 0 {
		t.Errorf("erase: %v, left: %q", err, left())
	}
}

func TestFaults(t *testing.T) {
	at := time.Unix(1000, 0)
	s := memstore.New(func() time.Time { return at })
	puts := func(op, _ string) bool { return op == "put" }
	put := func(key string) error {
		_, err := s.Put(t.Context(), key, bytes.NewReader([]byte("x")), objstore.PutOptions{IfAbsent: true})
		return err
	}

	s.SetFaults(memstore.Nth(2, puts), nil)
	if err := put("a"); err != nil {
		t.Errorf("first put: %v", err)
	}
	if err := put("b"); !errors.Is(err, memstore.ErrInjected) || !objstore.IsTemporary(err) {
		t.Errorf("second put: %v, want a temporary fault", err)
	}
	if _, err := s.Stat(t.Context(), "b"); !errors.Is(err, objstore.ErrNotExist) {
		t.Errorf("stat: %v, want no effect of the put", err)
	}

	s.SetFaults(nil, memstore.Nth(1, puts))
	if err := put("b"); !errors.Is(err, memstore.ErrInjected) {
		t.Errorf("put: %v, want a fault", err)
	}
	info, err := s.Stat(t.Context(), "b")
	if err != nil || !info.Modified.Equal(at) || !info.StoreTime.Equal(at) {
		t.Errorf("stat: %+v, %v, want the put to have taken effect at %v", info, err, at)
	}
	if err := put("b"); !errors.Is(err, objstore.ErrExist) {
		t.Errorf("put again: %v", err)
	}
}
