package overlay_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/objstoretest"
	"github.com/cyrusbackup/backupd/objstore/overlay"
)

func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(testing.TB) objstore.Store {
		return overlay.New(memstore.New(nil), memstore.New(nil))
	})
}

// TestVersions: removed versions disappear from the overlay, not from the store below.
func TestVersions(t *testing.T) {
	below := memstore.NewVersioned(nil)
	for range 3 {
		if _, err := below.Put(t.Context(), "a", bytes.NewReader(nil), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	s := overlay.New(below, memstore.New(nil))
	count := func(s objstore.Store) (n int) {
		for _, err := range s.Noncurrent(t.Context(), "a", "") {
			if n++; err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	for want := 2; want > 0; want-- {
		if n := count(s); n != want {
			t.Errorf("%d versions, want %d", n, want)
		}
		for v, err := range s.Noncurrent(t.Context(), "", "") {
			if err := errors.Join(err, s.DeleteVersion(t.Context(), v)); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if count(s) != 0 || count(below) != 2 {
		t.Errorf("%d versions, and %d below; want 0 and 2", count(s), count(below))
	}
}

// Objects below are visible until changed above; nothing below changes.
func TestOverlay(t *testing.T) {
	ctx := t.Context()
	below := memstore.New(nil)
	put := func(s objstore.Store, key, text string, o objstore.PutOptions) error {
		_, err := s.Put(ctx, key, bytes.NewReader([]byte(text)), o)
		return err
	}
	for _, key := range []string{"a/1", "a/2", "a/3", "b"} {
		if err := put(below, key, "old", objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	s := overlay.New(below, memstore.New(nil))
	was, err := s.Stat(ctx, "a/1")
	if err != nil {
		t.Fatal(err)
	}
	if err := put(s, "a/1", "new", objstore.PutOptions{IfAbsent: true}); !errors.Is(err, objstore.ErrExist) {
		t.Errorf("over an object below, if absent: %v", err)
	}
	if err := errors.Join(put(s, "a/1", "new", objstore.PutOptions{IfMatch: was.ETag}), put(s, "a/25", "new", objstore.PutOptions{IfAbsent: true}), s.Delete(ctx, "a/2")); err != nil {
		t.Fatal(err)
	}
	if err := put(s, "a/1", "newer", objstore.PutOptions{IfMatch: was.ETag}); !errors.Is(err, objstore.ErrPrecondition) {
		t.Errorf("over the ETag from below: %v", err)
	}
	if _, err := s.Stat(ctx, "a/2"); !errors.Is(err, objstore.ErrNotExist) {
		t.Errorf("deleted object: %v", err)
	}
	var keys []string
	for i, err := range s.List(ctx, "a/", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, i.Key)
	}
	if want := []string{"a/1", "a/25", "a/3"}; !slices.Equal(keys, want) {
		t.Errorf("the list has %q, want %q", keys, want)
	}
	o, err := s.Get(ctx, "a/1", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(o); err != nil || string(b) != "new" {
		t.Errorf("%q, %v", b, err)
	}
	if err := put(s, "a/2", "again", objstore.PutOptions{IfAbsent: true}); err != nil {
		t.Errorf("after a delete: %v", err)
	}
	for _, key := range below.Keys("") {
		if string(below.Bytes(key)) != "old" {
			t.Errorf("%s has changed below", key)
		}
	}
}
