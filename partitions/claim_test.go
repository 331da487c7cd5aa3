package partitions_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// If two partitions name the same repository, both refuse new backups.
func TestOneRepositoryHasOnePartition(t *testing.T) {
	store := newStore()
	x, err := index.Open(t.TempDir(), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	set, err := partitions.Open(partitions.Options{
		Partitions: []repository.Config{{Name: "one", Location: "/a", Store: store}},
		Index:      x,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.Create(t.Context(), repository.UserName("anne")); err != nil {
		t.Fatal(err)
	}
	if err := set.Close(); err != nil {
		t.Fatal(err)
	}
	set, err = partitions.Open(partitions.Options{
		Partitions: []repository.Config{{Name: "one", Location: "/a", Store: store}, {Name: "two", Location: "/b", Store: store}},
		Index:      x,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	_, err = set.Create(t.Context(), repository.UserName("bert"))
	if err == nil || !strings.Contains(err.Error(), "one") || !strings.Contains(err.Error(), "two") {
		t.Fatalf("a backup was created although two partitions share one repository: %v", err)
	}
	s := session.New(set, session.Who{Connection: "c", Client: "test"})
	defer s.Close()
	if err := s.ApplySub(t.Context(), "bert", "user.bert", true); !errors.Is(err, cyrus.ErrUnavailable) {
		t.Errorf("the client received %v", err)
	}
	if len(set.Troubles()) != 1 || set.Troubles()[0].Kind != "shared" {
		t.Errorf("troubles: %+v", set.Troubles())
	}
}
