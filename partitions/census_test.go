package partitions

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
)

// A census is complete only if no tool has changed the backups while it ran, and the one before
// remains until then.
func TestCensusDuringAChange(t *testing.T) {
	t.Parallel()
	x, err := index.Open(filepath.Join(t.TempDir(), "index"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	s := &Set{index: x, parts: []*Partition{{name: "a"}, {name: "b"}}}
	first := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	mark := func(at time.Time, forgot int, want time.Time, wantErr error) {
		t.Helper()
		if err := s.markCensus(countStart{at, forgot}); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Counted(); !got.Equal(want) || !errors.Is(err, wantErr) {
			t.Errorf("counted %v, %v; want %v, %v", got, err, want, wantErr)
		}
	}
	mark(first, 0, first, nil)
	if err := s.ForgetCensus(); err != nil {
		t.Fatal(err)
	}
	mark(first.Add(time.Minute), 0, time.Time{}, ErrNoCensus)
	mark(first.Add(time.Hour), 1, first.Add(time.Hour), nil)

	// A repository that was just created counts as known on the same condition.
	for _, c := range []struct {
		forgot int
		want   error
	}{{0, ErrNoCensus}, {1, nil}} {
		if err := s.forgetPartition("a", "id", countStart{first, c.forgot}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Counted(); !errors.Is(err, c.want) {
			t.Errorf("forgot %d: %v, want %v", c.forgot, err, c.want)
		}
	}
}
