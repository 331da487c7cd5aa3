package partitions_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// threeUsers makes backups of anne, bob and carol in the first of two partitions.
func threeUsers(t *testing.T) (*memstore.Store, []repository.Config) {
	store, empty := newStore(), newStore()
	h := newHost(t, store)
	for _, who := range []string{"anne", "bob", "carol"} {
		h.sync(who, newSource("user."+who))
	}
	h.stop()
	return store, []repository.Config{{Name: "p0", Store: store}, {Name: "p1", Store: empty}}
}

// browsed returns the paths and the errors that BrowseAll yields.
func browsed(t *testing.T, parts []repository.Config) (paths []string, failed []error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for f, err := range repository.BrowseAll(ctx, parts) {
		if err != nil {
			failed = append(failed, err)
			continue
		}
		if paths = append(paths, f.Path); len(paths) > 10 {
			t.Fatal("BrowseAll yields without end")
		}
	}
	return paths, failed
}

// Browsing reports a backup.json that is lost or damaged, and still yields every other backup.
func TestBrowseReportsDamage(t *testing.T) {
	const key = "backups/user/bob/backup.json"
	for name, spoil := range map[string]func(*memstore.Store){
		"lost": func(s *memstore.Store) {
			if err := s.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		},
		"damaged": func(s *memstore.Store) { put(t, s, key, []byte("{")) },
	} {
		store, parts := threeUsers(t)
		spoil(store)
		paths, failed := browsed(t, parts)
		if !slices.Equal(paths, []string{"user/anne", "user/carol"}) || len(failed) != 1 ||
			!strings.Contains(failed[0].Error(), "partition p0") || !strings.Contains(failed[0].Error(), "user/bob") {
			t.Errorf("%s: %q, %v", name, paths, failed)
		}
	}
}

// While a move is in progress, browsing yields the source of the move and ignores the
// unfinished copy.
func TestBrowseDuringMove(t *testing.T) {
	store, parts := threeUsers(t)
	copyStore(t, store, parts[1].Store, func(key string) bool {
		return strings.HasPrefix(key, "backups/user/bob/") && !strings.HasSuffix(key, "backup.json")
	})
	paths, failed := browsed(t, parts)
	if !slices.Equal(paths, []string{"user/anne", "user/bob", "user/carol"}) || len(failed) > 0 {
		t.Errorf("%q, %v", paths, failed)
	}
	var errs []error
	for _, err := range repository.Browse(t.Context(), parts[1]) {
		errs = append(errs, err)
	}
	if len(errs) != 1 || !errors.Is(errs[0], repository.ErrIncomplete) {
		t.Errorf("the other partition alone: %v, want ErrIncomplete", errs)
	}
}

// Browsing ignores unknown keys in the bucket.
func TestBrowseIgnoresOtherKeys(t *testing.T) {
	store, parts := threeUsers(t)
	for _, key := range []string{"backups/user/anne/~notes", "backups/user/anne/\u00fc", "backups/index.html", "backups/old/of/me"} {
		put(t, store, key, []byte("x"))
	}
	paths, failed := browsed(t, parts)
	if !slices.Equal(paths, []string{"user/anne", "user/bob", "user/carol"}) || len(failed) > 0 {
		t.Errorf("%q, %v", paths, failed)
	}
}

// An unreachable backup does not hide the others, but browsing ends when the whole store is
// unreachable.
func TestBrowseDuringOutage(t *testing.T) {
	store, parts := threeUsers(t)
	fail := func(suffix string) {
		store.SetFaults(func(op, key string) error {
			if op == "get" && strings.HasSuffix(key, suffix) {
				return memstore.ErrInjected
			}
			return nil
		}, nil)
	}
	fail("bob/backup.json")
	paths, failed := browsed(t, parts[:1])
	if !slices.Equal(paths, []string{"user/anne", "user/carol"}) || len(failed) != 1 || !objstore.IsTemporary(failed[0]) {
		t.Errorf("one is unreachable: %q, %v", paths, failed)
	}
	store.SetFaults(nil, nil)
	for i := range 200 {
		put(t, store, fmt.Sprintf("backups/user/u%03d/backup.json", i), []byte("{}"))
	}
	fail("/backup.json")
	paths, failed = browsed(t, parts[:1])
	var unasked repository.UnaskedError
	if len(paths) > 0 || len(failed) > 50 || !errors.As(failed[len(failed)-1], &unasked) {
		t.Errorf("all are unreachable: %q, %d errors, the last one %v", paths, len(failed), failed[len(failed)-1])
	}
}
