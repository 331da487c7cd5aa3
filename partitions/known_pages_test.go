package partitions

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
)

// Pages of a census and of the daemon's entries, which overlap in part, give each backup once, in
// the order of the bucket.
func TestKnownInPages(t *testing.T) {
	t.Parallel()
	x, err := index.Open(filepath.Join(t.TempDir(), "index"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	census := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	rng := rand.New(rand.NewPCG(1, 2))
	var want []string
	set := func(tx *index.Txn, k index.Key, v any) {
		b, err := json.Marshal(v)
		if err == nil {
			err = tx.Set(k, b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	err = x.UpdateLong(func(tx *index.Txn) error {
		for i := range 5 * knownAtOnce {
			path := fmt.Sprintf("user/u%d%s", i, []string{"", "-b", ".c", "=20"}[rng.IntN(4)])
			found, known, later, elsewhere := rng.IntN(3) > 0, rng.IntN(3) > 0, rng.IntN(2) == 0, rng.IntN(8) == 0
			e := entry{Partition: "p0", Kind: "user", Name: path}
			if elsewhere {
				e.Partition = "p1"
			}
			if e.Own.Since = census.Add(-time.Minute); later {
				e.Own.Since = census.Add(time.Minute)
			}
			if known {
				set(tx, index.BackupKey(path), e)
			}
			if found {
				set(tx, index.SummaryKey("p0", path), counted{Kind: "user", Name: path})
			}
			moved := known && elsewhere && later
			if found && !moved || known && !elsewhere && later {
				want = append(want, path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(want, func(a, b string) int { return strings.Compare(a+"/", b+"/") })
	var got []string
	for k := (knownPages{partition: "p0", census: census}); !k.end; {
		err := x.View(func(tx *index.Txn) error {
			page, err := k.next(tx)
			if len(page) > 2*knownAtOnce {
				t.Errorf("a page of %d", len(page))
			}
			for _, b := range page {
				got = append(got, b.Path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d backups, want %d", len(got), len(want))
	}
}
