package ctlbackups

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Every later list, and verify --seals, report a finding until a person accepts it.
func TestFindingsAreKept(t *testing.T) {
	s := sealing(t)
	for _, key := range s.Stores[0].Keys("backups/user/anne/") {
		s.Stores[0].Lose(key)
	}
	named := []string{"default:user/anne: removed: the backup was removed; its newest commit was 1 (", "(recorded in list 2)"}
	for range 4 {
		s.finds(named, "seal", "-A", "--to", s.out)
		s.Now = s.Now.Add(time.Minute)
	}
	if r, err := repository.LastRun(t.Context(), s.Stores[0], repository.RunSeal); err != nil || r.Failed != 1 || r.Result != repository.RunFailed {
		t.Errorf("%+v, %v", r, err)
	}
	s.finds(named, "verify", "--seals", s.out)
	s.finds(named, "verify", "--seals")
	if out, err := s.run("seal", "-A", "--to", s.out, "--accept", "6"); err == nil || !strings.Contains(out, "there is no list 6") {
		t.Errorf("%v: %s", err, out)
	}
	s.finds(named, "seal", "-A", "--to", s.out, "--accept", "1")
	s.finds(nil, "seal", "-A", "--to", s.out, "--accept", "2")
	s.finds(nil, "verify", "--seals", s.out)
	s.seal()
	s.finds(nil, "verify", "--seals")
}

// A copy without lists, or far behind, is the wrong place.
func TestCopyIsMissing(t *testing.T) {
	s := sealing(t)
	s.seal()
	empty := t.TempDir()
	want := []string{"the copy outside of the bucket has no list, and the bucket has some"}
	s.finds(want, "seal", "-A", "--to", empty)
	if files, err := os.ReadDir(empty + "/default"); err == nil && len(files) > 1 {
		t.Errorf("it was filled: %v", files)
	}
	s.finds(want, "verify", "--seals", empty)
	s.must("seal", "-A")
	s.finds([]string{"the copy outside of the bucket lacks 2 lists, from list 3 on"}, "verify", "--seals", s.out)
	s.finds(nil, "seal", "-A", "--to", empty, "--new-copy")
	s.finds(nil, "verify", "--seals", empty)
}

// A partition without lists is a failure if another one has some.
func TestPartitionWithoutLists(t *testing.T) {
	s := sealing(t, "default", "cold")
	for _, to := range []string{"cold", "default"} { // so both partitions have something
		if out, err := s.run("move", "bob", to); err != nil && !strings.Contains(out, "already") {
			t.Fatalf("%v: %s", err, out)
		}
	}
	s.seal()
	for _, key := range s.Stores[1].Keys("attestations/") {
		s.Stores[1].Lose(key)
	}
	out, err := s.run("verify", "--seals")
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "partition cold: there is no signed list") {
		t.Errorf("%v: %s", err, out)
	}
}

// A log that was cut as if by retention, with a forged state before it, is found if the list is young, or if the commits
// that are gone are.
func TestForgedRetention(t *testing.T) {
	for name, c := range map[string]struct{ head, cut uint64 }{"at the head": {4, 4}, "below the head": {4, 3}} {
		t.Run(name, func(t *testing.T) {
			s := sealing(t)
			s.mail(1)
			s.seal()
			s.Now = s.Now.Add(time.Hour)
			s.cut(c.head, c.cut)
			s.finds([]string{"default:user/bob: shortened: commits up to "}, "verify", "--seals", s.out)
			s.finds([]string{"default:user/bob: shortened: commits up to "}, "seal", "-A", "--to", s.out)
		})
	}
}

// cut forges a retention that has removed the commits up to n.
func (s *sealed) cut(head, n uint64) {
	s.t.Helper()
	store := s.Stores[0]
	m, err := history.Load(s.t.Context(), store, "user/bob", history.Moment{Number: n})
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := m.WriteCheckpoint(s.t.Context(), packOptions()); err != nil {
		s.t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		s.t.Fatal(err)
	}
	l := &history.Log{Store: store, Backup: "user/bob"}
	survey, err := l.Survey(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	hash, err := survey.Hash(s.t.Context(), head)
	if err != nil {
		s.t.Fatal(err)
	}
	b := history.NewBuilder(history.Header{Backup: "user/bob", Number: head + 1, Prev: hash, Time: s.Now, Host: "b1", Clock: s.Now, Connection: repository.RetentionConnection}, packOptions())
	if err := b.Event(&history.RetainedEvent{From: 1, To: n}); err != nil {
		s.t.Fatal(err)
	}
	object, _, err := b.Finish(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	put(s, history.LogKey("user/bob", head+1), object)
	for k := uint64(1); k <= n; k++ {
		store.Lose(history.LogKey("user/bob", k))
	}
}
