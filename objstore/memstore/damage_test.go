package memstore_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
)

func filled(t *testing.T, keys ...string) *memstore.Store {
	t.Helper()
	s := memstore.New(nil)
	for _, k := range keys {
		write(t, s, k, "body of "+k)
	}
	return s
}

func write(t *testing.T, s *memstore.Store, key, text string) {
	t.Helper()
	if _, err := s.Put(t.Context(), key, bytes.NewReader([]byte(text)), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestRollback(t *testing.T) {
	for _, c := range []struct {
		prefix    string
		keepNewer bool
		want      []string // keys and bodies afterwards, in order
	}{
		{"", false, []string{"a/1=old", "b/1=old"}},
		{"a/", false, []string{"a/1=old", "b/1=new", "b/2=new"}},
		{"", true, []string{"a/1=old", "a/2=new", "b/1=old", "b/2=new"}},
		{"b/", true, []string{"a/2=new", "b/1=old", "b/2=new"}},
	} {
		s := memstore.New(nil)
		write(t, s, "a/1", "old")
		write(t, s, "b/1", "old")
		then := s.Snapshot()
		s.Lose("a/1")
		for _, k := range []string{"a/2", "b/1", "b/2"} {
			write(t, s, k, "new")
		}
		s.Rollback(then, c.prefix, c.keepNewer)
		var got []string
		for _, k := range s.Keys("") {
			got = append(got, k+"="+string(s.Bytes(k)))
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("rollback of %q, keep newer %v: %q, want %q", c.prefix, c.keepNewer, got, c.want)
		}
	}
}

func TestDamage(t *testing.T) {
	s := filled(t, "b", "a")
	if got := s.Keys(""); !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("keys by age: %q", got)
	}
	etag := func(key string) string {
		i, err := s.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		return i.ETag
	}
	was := etag("a")
	s.Swap("a", "b")
	if string(s.Bytes("a")) != "body of b" || string(s.Bytes("b")) != "body of a" || etag("a") == was {
		t.Errorf("swapped: %q, %q, ETag %s after %s", s.Bytes("a"), s.Bytes("b"), etag("a"), was)
	}
	s.Copy("a", "c")
	s.Flip("a", len("body of b")+1)
	if string(s.Bytes("c")) != "body of b" || string(s.Bytes("a")) != "bkdy of b" {
		t.Errorf("copied, then flipped: %q, %q", s.Bytes("c"), s.Bytes("a"))
	}
	s.Truncate("c", 4)
	i, err := s.Stat(t.Context(), "c")
	if err != nil || string(s.Bytes("c")) != "body" || i.Size != 4 {
		t.Errorf("truncated: %q, %+v, %v", s.Bytes("c"), i, err)
	}
	s.Lose("c")
	if s.Bytes("c") != nil {
		t.Error("the object still exists")
	}
}
