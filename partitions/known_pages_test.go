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
	"github.com/cyrusbackup/backupd/partitions/repository"
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

// The contacts and refusals of a page are those that a look-up of each backup finds.
func TestContactsInPages(t *testing.T) {
	t.Parallel()
	x, err := index.Open(filepath.Join(t.TempDir(), "index"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	rng := rand.New(rand.NewPCG(3, 4))
	err = x.UpdateLong(func(tx *index.Txn) error {
		for i := range 3 * knownAtOnce {
			path := fmt.Sprintf("user/u%d%s", i, []string{"", "-b", ".c", "=20"}[rng.IntN(4)])
			values := []struct {
				key   index.Key
				value any
			}{
				{index.ContactKey(path), backupContact{Client: path}},
				{index.RefusalKey(path), repository.Refusal{Error: path}},
				{index.SummaryKey("p0", path), counted{Kind: "user", Name: path}},
			}
			for _, v := range values {
				if rng.IntN(3) == 0 {
					continue
				}
				if err := setJSON(tx, v.key, v.value); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n := [3]int{}
	for k := (knownPages{partition: "p0"}); !k.end; {
		err := x.View(func(tx *index.Txn) error {
			page, err := k.next(tx)
			if err != nil {
				return err
			}
			for _, b := range page {
				own, err := findJSON[backupContact](tx, index.ContactKey(b.Path))
				if err != nil {
					return err
				}
				refusal, err := findJSON[repository.Refusal](tx, index.RefusalKey(b.Path))
				if err != nil {
					return err
				}
				if n[0]++; own != nil {
					n[1]++
				}
				if refusal != nil {
					n[2]++
				}
				if (b.Client != "") != (own != nil) || own != nil && b.Client != b.Path || (b.Refused != nil) != (refusal != nil) || refusal != nil && b.Refused.Error != b.Path {
					t.Errorf("%+v: contact %+v, refusal %+v", b, own, refusal)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// About 1,024 of 1,536 paths have a summary: more than a page.
	if n[0] <= knownAtOnce || n[1] == n[0] || n[2] == n[0] || n[1]*n[2] == 0 {
		t.Errorf("%d backups, %d contacts, %d refusals", n[0], n[1], n[2])
	}
}
