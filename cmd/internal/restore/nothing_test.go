package restore

import (
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/dirstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// session opens a session of another host, with a separate index. end ends it.
func openSession(t *testing.T, part repository.Config) (s *session.Session, end func()) {
	t.Helper()
	x, err := index.Open(filepath.Join(t.TempDir(), "index"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	set, err := partitions.Open(partitions.Options{Index: x, Host: "host", Software: "test", Partitions: []repository.Config{part}})
	if err != nil {
		t.Fatal(errors.Join(err, x.Close()))
	}
	s = session.New(set, session.Who{Connection: "c1", Client: "test"})
	return s, func() {
		s.Close()
		if err := errors.Join(set.Close(), x.Close()); err != nil {
			t.Error(err)
		}
	}
}

// unuser deletes a user.
func unuser(t *testing.T, part repository.Config, user string) {
	s, end := openSession(t, part)
	defer end()
	if err := s.ApplyUnuser(t.Context(), user); err != nil {
		t.Fatal(err)
	}
}

func opened(t *testing.T, dir string) objstore.Store {
	s, err := dirstore.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// A restore of all mail of a deleted user restores nothing, and reports that.
func TestNothingIsLive(t *testing.T) {
	config, part := host(t)
	unuser(t, part, "anne")
	to := filepath.Join(t.TempDir(), "to")
	code, said := program(t, "-C", config, "--to", "eml:"+to, "anne", "-a")
	if code != 75 || !strings.Contains(said, "restore --at") && !strings.Contains(said, "restore --commit") || strings.Count(said, "\n") != 1 {
		t.Errorf("status %d: %q", code, said)
	}
}

// After a user was deleted, a restore of all mail reports the deleted mail, and the command in
// the message restores it.
func TestReportsDeletions(t *testing.T) {
	config, part := host(t)
	time.Sleep(1100 * time.Millisecond) // the directory's store time is in seconds
	unuser(t, part, "anne")
	to := filepath.Join(t.TempDir(), "it's here")
	argv := []string{"-C", config, "--to", "eml:" + to, "anne", "-a"}
	code, said := program(t, argv...)
	_, command, found := strings.Cut(said, "This restores them: restore ")
	if code != 75 || !found || !strings.Contains(said, "100 other messages were deleted since") {
		t.Fatalf("status %d: %q", code, said)
	}
	out, err := exec.Command("sh", "-c", "printf '%s\\n' "+strings.TrimSuffix(command, " ("+restore.ErrNothing.Error()+")\n")).Output()
	if err != nil {
		t.Fatal(err)
	}
	again := strings.Split(strings.TrimSpace(string(out)), "\n")
	if !slices.Equal(again[2:], argv) {
		t.Fatalf("%q", again)
	}
	if code, said = program(t, again...); code != 0 || strings.Contains(said, "deleted") {
		t.Errorf("status %d: %q", code, said)
	}
}
