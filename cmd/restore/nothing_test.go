package main

import (
	"path/filepath"
	"strings"
	"testing"

	"backupd/index"
	"backupd/partitions"
)

// To restore all of a user who was deleted brings nothing, which is not done in silence.
func TestNothingLives(t *testing.T) {
	config, part := host(t)
	x, err := index.Open(filepath.Join(t.TempDir(), "index"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	set, err := partitions.Open(partitions.Options{Index: x, Host: "host", Software: "test", Partitions: []partitions.Config{part}})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	s := set.NewSession(partitions.Who{Connection: "c1", Client: "test"})
	defer s.Close()
	if err := s.ApplyUnuser(t.Context(), "anne"); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "to")
	code, said := program(t, "-C", config, "--to", "eml:"+to, "anne", "-a")
	if code != 75 || !strings.Contains(said, "--at") || strings.Count(said, "\n") != 1 {
		t.Errorf("status %d: %q", code, said)
	}
}
