package repository

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
)

func store(t *testing.T, sizes map[string]int) (*memstore.Store, map[string][]byte) {
	t.Helper()
	s, all := memstore.New(time.Now), map[string][]byte{}
	for key, n := range sizes {
		all[key] = bytes.Repeat([]byte(key[len(key)-1:]), n)
		if _, err := s.Put(t.Context(), key, bytes.NewReader(all[key]), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return s, all
}

// A scan finds each backup once, in order of the keys, and skips the rest of a long one.
func TestScan(t *testing.T) {
	sizes := map[string]int{"backups/user/a/x": 1, "backups/user/a-b/x": 1, "backups/user/c/x": 1, "backups/shared/z/x/y": 1, "backups/other/a/x": 1, "backups/x": 1}
	for i := range 2345 {
		sizes[fmt.Sprintf("backups/user/b/log/%04d", i)] = 1
	}
	s, _ := store(t, sizes)
	var got []string
	for l, err := range scan(t.Context(), s, "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(l.path, " ", len(l.keys), " ", l.rest))
	}
	want := []string{"shared/z 1 false", "user/a-b 1 false", "user/a 1 false", "user/b 1000 true", "user/c 1 false"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A listed backup shows the same objects as its bucket, with fewer requests.
func TestListedStore(t *testing.T) {
	s, all := store(t, map[string]int{"backups/user/a/log/1": 10, "backups/user/a/log/2": 3 * beginningSize, "backups/user/a/z": 0, "backups/user/b/log/1": 5})
	var f *Found
	for l, err := range scan(t.Context(), s, "") {
		if err != nil {
			t.Fatal(err)
		}
		if l.path == "user/a" {
			f = (&Found{Partition: Config{Store: s}, Path: l.path, listed: l}).Listed()
		}
	}
	requests := 0
	s.SetFaults(func(string, string) error { requests++; return nil }, nil)
	listed := f.Partition.Store
	for _, q := range [][2]string{{"backups/user/a/", ""}, {"backups/user/a/log/", ""}, {"backups/user/a/log/", "backups/user/a/log/1"}, {"backups/user/a/", "backups/user/a/log/15"}, {"backups/user/a/y", ""}, {"backups/user/a/zz", ""}} {
		if got, want := keys(t, listed, q), keys(t, s, q); got != want {
			t.Errorf("list %q lists %s, want %s", q, got, want)
		}
	}
	if requests != 6 {
		t.Errorf("%d requests for the lists, want only 6 of the test's own", requests)
	}
	if _, err := listed.Get(t.Context(), "backups/user/a/lock.json", 0, -1); !errors.Is(err, objstore.ErrNotExist) || requests != 6 {
		t.Errorf("a missing object: %v, %d requests", err, requests)
	}
	for key, whole := range all {
		for _, r := range [][2]int64{{0, -1}, {0, 7}, {5, 3}, {-3, 0}, {0, beginningSize}, {0, 2 * beginningSize}, {0, 100 << 20}} {
			if got, want := get(t, listed, key, r), get(t, s, key, r); got != want || r[0] == 0 && r[1] < 0 && got != string(whole) {
				t.Errorf("get %s %v: %d bytes, want %d", key, r, len(got), len(want))
			}
		}
	}
}

// Once a listed object is missing, the store is listed again.
func TestListedStoreOutOfDate(t *testing.T) {
	s, _ := store(t, map[string]int{"backups/user/a/log/1": 10, "backups/user/a/log/2": 10})
	for l := range scan(t.Context(), s, "") {
		f := (&Found{Partition: Config{Store: s}, Path: l.path, listed: l}).Listed()
		if err := s.Delete(t.Context(), "backups/user/a/log/1"); err != nil {
			t.Fatal(err)
		}
		get(t, f.Partition.Store, "backups/user/a/log/1", [2]int64{0, -1})
		if got := keys(t, f.Partition.Store, [2]string{"backups/user/a/", ""}); got != "backups/user/a/log/2 10" {
			t.Errorf("listed are %s", got)
		}
		f.listed.at = time.Now().Add(-time.Hour)
		if old := f.Listed(); old != f {
			t.Error("an old listing is used")
		}
	}
}

func keys(t *testing.T, s objstore.Store, q [2]string) string {
	t.Helper()
	var out []string
	for i, err := range s.List(t.Context(), q[0], q[1]) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(i.Key, " ", i.Size))
	}
	return strings.Join(out, ", ")
}

// get returns the bytes of a range, or the error.
func get(t *testing.T, s objstore.Store, key string, r [2]int64) string {
	t.Helper()
	o, err := s.Get(t.Context(), key, r[0], r[1])
	if err != nil {
		return err.Error()
	}
	defer o.Close()
	b, err := io.ReadAll(o)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
