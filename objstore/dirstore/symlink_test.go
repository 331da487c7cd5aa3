package dirstore

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
)

// TestSymbolicLinks: the target of a link exists for every call, or for none.
func TestSymbolicLinks(t *testing.T) {
	s := newStore(t)
	for _, key := range []string{"a/x", "b/y", "c"} {
		mustPut(t, s, key, key)
	}
	elsewhere := t.TempDir()
	for _, name := range []string{"a", "c"} {
		if err := os.Rename(s.path(name), filepath.Join(elsewhere, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(elsewhere, name), s.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(elsewhere, "gone"), s.path("dangling")); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
		stat, err := s.Stat(t.Context(), info.Key)
		if err != nil || stat.Size != info.Size || stat.ETag != info.ETag {
			t.Errorf("%s: listed %+v, stat %+v, %v", info.Key, info, stat, err)
		}
		obj, err := s.Get(t.Context(), info.Key, 0, -1)
		if err != nil {
			t.Errorf("get %s: %v", info.Key, err)
			continue
		}
		if obj.ETag != info.ETag {
			t.Errorf("%s: got %+v, listed %+v", info.Key, obj.Info, info)
		}
		if err := obj.Close(); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"a/x", "b/y", "c"}; !slices.Equal(keys, want) {
		t.Errorf("listed %s, want %s", strings.Join(keys, " "), strings.Join(want, " "))
	}
	info, err := s.Stat(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "c", bytes.NewReader([]byte("new")), objstore.PutOptions{IfMatch: info.ETag}); err != nil {
		t.Errorf("replace the target of a link: %v", err)
	}
}
