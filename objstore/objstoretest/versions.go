package objstoretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
)

// RunVersioned tests stores that keep noncurrent versions. newStore returns a new empty store for
// each subtest.
func RunVersioned(t *testing.T, newStore func(t testing.TB) objstore.Store) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, objstore.Store)
	}{
		{"Noncurrent", testNoncurrent},
		{"NoncurrentMany", testNoncurrentMany},
		{"DeleteVersion", testDeleteVersion},
		{"DeleteMarker", testDeleteMarker},
		{"EraseObject", testEraseObject},
		{"EraseOften", testEraseOften},
		{"IfAbsent", testIfAbsent}, // a delete marker is no object
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newStore(t)) })
	}
}

// versions returns the noncurrent versions and markers, as key:size or key:marker, sorted by that.
func versions(t testing.TB, s objstore.Store, prefix, after string) (found []objstore.Version, names []string) {
	t.Helper()
	seen := map[string]bool{}
	last := ""
	for v, err := range s.Noncurrent(t.Context(), prefix, after) {
		if err != nil {
			t.Fatalf("noncurrent: %v", err)
		}
		if v.Key < last || v.ID == "" || v.Modified.IsZero() {
			t.Errorf("noncurrent: %+v after %s", v, last)
		}
		if last = v.Key; seen[v.Key+" "+v.ID] {
			continue
		}
		seen[v.Key+" "+v.ID] = true
		name := fmt.Sprintf("%s:%d", v.Key, v.Size)
		if v.Marker {
			name = v.Key + ":marker"
		}
		found, names = append(found, v), append(names, name)
	}
	slices.Sort(names)
	return found, names
}

func wantVersions(t testing.TB, s objstore.Store, want ...string) {
	t.Helper()
	if _, got := versions(t, s, "", ""); !slices.Equal(got, want) {
		t.Errorf("noncurrent: %q, want %q", got, want)
	}
}

func remove(t testing.TB, s objstore.Store, key string) {
	t.Helper()
	if err := s.Delete(t.Context(), key); err != nil {
		t.Fatalf("delete: %v", err)
	}
}

// testNoncurrent: replaced and deleted objects are listed, and no current one.
func testNoncurrent(t *testing.T, s objstore.Store) {
	for _, text := range []string{"1", "22", "333"} {
		put(t, s, "d/a", text)
	}
	put(t, s, "d-x", "1")
	put(t, s, "d/b", "1")
	for _, text := range []string{"1", "22"} {
		put(t, s, "d/c", text)
		remove(t, s, "d/c")
	}
	put(t, s, "e", "1")
	remove(t, s, "e")
	put(t, s, "e", "1234")
	c := []string{"d/c:1", "d/c:2", "d/c:marker", "d/c:marker"}
	for _, q := range []struct {
		prefix, after string
		want          []string
	}{
		{"", "", slices.Concat([]string{"d/a:1", "d/a:2"}, c, []string{"e:1", "e:marker"})},
		{"d/", "", slices.Concat([]string{"d/a:1", "d/a:2"}, c)},
		{"d/a", "", []string{"d/a:1", "d/a:2"}},
		{"d/b", "", nil},
		{"d", "d/a", c},
		{"d", "d/b", c},
		{"d/", "d/c", nil},
		{"", "d/c", []string{"e:1", "e:marker"}},
		{"d/", "a", slices.Concat([]string{"d/a:1", "d/a:2"}, c)},
		{"d/", "e", nil},
		{"none", "", nil},
	} {
		if _, got := versions(t, s, q.prefix, q.after); !slices.Equal(got, q.want) {
			t.Errorf("noncurrent %q after %q: %q, want %q", q.prefix, q.after, got, q.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range s.Noncurrent(ctx, "", "") {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("noncurrent, cancelled: %v", err)
		}
	}
	for _, err := range s.Noncurrent(t.Context(), "", "") { // stop after the first
		if err != nil {
			t.Errorf("noncurrent: %v", err)
		}
		break
	}
}

// testNoncurrentMany needs several pages, also for a single key, and removes what it lists.
func testNoncurrentMany(t *testing.T, s objstore.Store) {
	const keys, each = 8, 30
	together(keys, func(i int) {
		for range each {
			put(t, s, fmt.Sprintf("many/%d", i), "x")
		}
	})
	removed := map[string]int{}
	for v, err := range s.Noncurrent(t.Context(), "many/", "") {
		if err != nil {
			t.Fatalf("noncurrent: %v", err)
		}
		if err := s.DeleteVersion(t.Context(), v); err != nil {
			t.Fatalf("delete-version: %v", err)
		}
		removed[v.Key]++
	}
	wantVersions(t, s)
	for i := range keys {
		key := fmt.Sprintf("many/%d", i)
		if removed[key] < each-1 {
			t.Errorf("%s: %d versions removed, want %d", key, removed[key], each-1)
		}
		wantText(t, s, key, "x")
	}
}

func testDeleteVersion(t *testing.T, s objstore.Store) {
	for _, text := range []string{"1", "22", "333"} {
		put(t, s, "a", text)
	}
	for v, err := range s.Noncurrent(t.Context(), "", "") {
		if err != nil {
			t.Fatalf("noncurrent: %v", err)
		}
		if v.Size != 1 {
			continue
		}
		for range 2 { // a missing version is not an error
			if err := s.DeleteVersion(t.Context(), v); err != nil {
				t.Errorf("delete-version: %v", err)
			}
		}
	}
	wantVersions(t, s, "a:2")
	wantText(t, s, "a", "333")
	err := s.DeleteVersion(t.Context(), objstore.Version{Key: "a//b", ID: "x"})
	wantErr(t, "delete-version", "a//b", err, objstore.ErrKey)
}

// testDeleteMarker: a marker that hides a version is not removed.
func testDeleteMarker(t *testing.T, s objstore.Store) {
	for range 2 {
		put(t, s, "a", "old")
		remove(t, s, "a")
	}
	put(t, s, "ab", "other")
	all, names := versions(t, s, "a", "")
	if want := []string{"a:3", "a:3", "a:marker", "a:marker"}; !slices.Equal(names, want) {
		t.Fatalf("noncurrent: %q, want %q", names, want)
	}
	refused := 0
	for _, v := range all { // the older marker hides nothing
		if !v.Marker {
			continue
		}
		if err := s.DeleteVersion(t.Context(), v); err != nil {
			wantErr(t, "delete-version", "a", err, objstore.ErrPrecondition)
			refused++
		}
	}
	if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, objstore.ErrNotExist) || refused != 1 {
		t.Errorf("the deleted object: %v, %d markers were refused, want 1", err, refused)
	}
	for _, marker := range []bool{false, true} {
		for _, v := range all {
			if v.Marker == marker {
				if err := s.DeleteVersion(t.Context(), v); err != nil {
					t.Errorf("delete-version: %v", err)
				}
			}
		}
	}
	wantVersions(t, s)
	wantText(t, s, "ab", "other")
}

func erase(t testing.TB, s objstore.Store, key string) {
	t.Helper()
	if err := objstore.EraseObject(t.Context(), s, key); err != nil {
		t.Fatalf("erase %s: %v", key, err)
	}
	if _, err := s.Stat(t.Context(), key); !errors.Is(err, objstore.ErrNotExist) {
		t.Errorf("the erased object: %v", err)
	}
}

// testEraseObject erases one key, and leaves the keys that begin like it unchanged.
func testEraseObject(t *testing.T, s objstore.Store) {
	for _, key := range []string{"e/1", "e/10", "e/1.x", "e/0"} {
		put(t, s, key, "1")
		remove(t, s, key)
		put(t, s, key, "22")
		put(t, s, key, "333")
	}
	remove(t, s, "e/10")
	rest := []string{"e/0:1", "e/0:2", "e/0:marker", "e/1.x:1", "e/1.x:2", "e/1.x:marker",
		"e/10:1", "e/10:2", "e/10:3", "e/10:marker", "e/10:marker"}
	for range 2 { // it can be repeated
		erase(t, s, "e/1")
		wantVersions(t, s, rest...)
		wantText(t, s, "e/1.x", "333")
	}
	erase(t, s, "e/10")
	wantVersions(t, s, rest[:6]...)
	erase(t, s, "never/existed")
}

// testEraseOften erases an object with more versions than a page has.
func testEraseOften(t *testing.T, s objstore.Store) {
	for i := range 60 {
		put(t, s, "lock", "x")
		if i%3 == 0 {
			remove(t, s, "lock")
		}
	}
	erase(t, s, "lock")
	wantVersions(t, s)
}

// testUnversioned is for stores without versions.
func testUnversioned(t *testing.T, s objstore.Store) {
	put(t, s, "a", "1")
	put(t, s, "a", "22")
	put(t, s, "b", "1")
	remove(t, s, "b")
	wantVersions(t, s)
	// An unversioned bucket calls its objects "null".
	for _, id := range []string{"null", ""} {
		_ = s.DeleteVersion(t.Context(), objstore.Version{Key: "a", ID: id}) // an error or nothing
		wantText(t, s, "a", "22")
	}
	put(t, s, "aa", "1")
	erase(t, s, "a")
	wantText(t, s, "aa", "1")
	erase(t, s, "a")
}
