package objstoretest

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
)

// Use makes some calls of each kind, for tests that count them: 3 puts of 4 bytes (one refused), a get of 3 bytes, a
// stat of a missing object, a list of two keys, a delete.
func Use(t testing.TB, s objstore.Store) {
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
