package repository

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
)

// Every object counts once, by its key, and those of the period also as requests.
func TestAddUp(t *testing.T) {
	begin := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	now := begin
	s := memstore.New(func() time.Time { return now })
	put := func(key string, n int) {
		if _, err := s.Put(t.Context(), key, bytes.NewReader(make([]byte, n)), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put("packs/aa/old.tar.zst", 1000)
	put("backups/user/anne/log/0000000000000001.tar.zst", 10)
	now = begin.Add(time.Hour)
	put("backups/user/anne/log/0000000000000002.tar.zst", 20)
	put("backups/user/anne/checkpoints/0000000000000002.tar.zst", 100)
	put("backups/user/anne/records/abc.tar.zst", 200)
	put("backups/user/anne/backup.json", 1)
	put("backups/user/anne-2/log/0000000000000001.tar.zst", 5)
	put("backups/stray", 7)
	put("packs/bb/new.tar.zst", 2000)
	put("repository.json", 3)
	put("set-aside/user/anne/20261101T000000Z/log/0000000000000001.tar.zst", 400)

	var own []string
	got, err := AddUp(t.Context(), s, now, func(path string, a Account) error {
		own = append(own, fmt.Sprint(path, " log ", a.Log, " checkpoints ", a.Checkpoints, " other ", a.Other, " packs ", a.Packs))
		return nil
	})
	want := Account{
		Packs:       Amount{2, 3000, 1},
		Log:         Amount{3, 35, 2},
		Checkpoints: Amount{2, 300, 2},
		SetAside:    Amount{1, 400, 1},
		Other:       Amount{3, 11, 3},
	}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got)\n%s", err, d)
	}
	if sum := got.Total(); sum != (Amount{11, 3746, 9}) {
		t.Errorf("total %+v", sum)
	}
	wantOwn := []string{"user/anne-2 log {1 5 1} checkpoints {0 0 0} other {0 0 0} packs {0 0 0}",
		"user/anne log {2 30 1} checkpoints {2 300 2} other {1 1 1} packs {0 0 0}"}
	if !slices.Equal(own, wantOwn) {
		t.Errorf("%q, want %q", own, wantOwn)
	}
	stop := errors.New("stop")
	if _, err := AddUp(t.Context(), s, now, func(string, Account) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("an error of the loop: %v", err)
	}
}
