package ctlbackups

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// legitimate are the changes that our programs make.
func legitimate() map[string]func(*sealed) {
	return map[string]func(*sealed){
		"nothing":  func(*sealed) {},
		"new mail": func(s *sealed) { s.mail(3) },
		"a new backup": func(s *sealed) {
			box := tooltest.NewMailbox("user.amy")
			box.Deliver(tooltest.Mail("for amy", "carol@example.org", 300), s.Now)
			s.Sync(box)
		},
		"commits merged": func(s *sealed) { s.days(4); s.must("compact", "-A") },
		"retention":      func(s *sealed) { s.nights(9); s.shorter() },
		"retention of an idle backup, up to the commit of the list": func(s *sealed) {
			s.Now = s.Now.AddDate(0, 0, 40)
			s.seal()
			s.mail(1)
			s.Now = s.Now.AddDate(0, 0, 1)
			s.seal()
			s.nights(8)
			s.shorter()
		},
		"a backup erased": func(s *sealed) {
			s.must("erase", "bob", "--yes", "--reason", "left")
			s.Now = s.Now.Add(3 * time.Hour)
			s.must("compact", "-A")
		},
		"a backup erased, and a new one of the name": func(s *sealed) {
			s.must("erase", "bob", "--yes", "--reason", "left")
			s.bob = tooltest.NewMailbox("user.bob")
			s.mail(9)
		},
		"history erased": func(s *sealed) {
			s.days(7)
			s.must("erase", "bob", "--yes", "--before", s.Now.AddDate(0, 0, -3).Format(time.RFC3339), "--reason", "request")
			s.shorter()
			s.Now = s.Now.Add(15 * time.Hour)
			s.must("compact", "-A")
		},
		"set aside": func(s *sealed) { s.must("set-aside", "bob") },
		"set aside, and a new one of the name": func(s *sealed) {
			s.must("set-aside", "bob")
			s.bob = tooltest.NewMailbox("user.bob")
			s.mail(9)
		},
		"set aside, and erased": func(s *sealed) {
			s.must("set-aside", "bob")
			s.seal()
			s.bob = tooltest.NewMailbox("user.bob")
			s.mail(1)
			s.must("erase", "bob", "--yes", "--reason", "left")
		},
		"backup.json lost and repaired": func(s *sealed) {
			s.Stores[0].Lose("backups/user/bob/backup.json")
			s.must("verify", "--repair", "-A")
		},
	}
}

// days makes a commit of bob on each of n days.
func (s *sealed) days(n int) {
	for range n {
		s.Now = s.Now.AddDate(0, 0, 1)
		s.mail(1)
	}
}

// nights is days with compaction.
func (s *sealed) nights(n int) {
	s.t.Helper()
	for range n {
		s.days(1)
		s.must("compact", "-A")
	}
}

// shorter checks that the log of bob has lost its beginning: otherwise the case shows nothing.
func (s *sealed) shorter() {
	s.t.Helper()
	l := &history.Log{Store: s.Stores[0], Backup: "user/bob"}
	if first, err := l.First(s.t.Context()); err != nil || first <= 3 {
		s.t.Fatalf("the log begins with commit %d, %v", first, err)
	}
}

// What our programs change stays silent: verify --seals against the list before, the next seal, and verify after it.
func TestSealsAreSilent(t *testing.T) {
	for name, change := range legitimate() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sealing(t)
			change(s)
			s.Now = s.Now.Add(time.Minute)
			s.finds(nil, "verify", "--seals", s.out)
			s.seal()
			s.finds(nil, "verify", "--seals", s.out)
			s.finds(nil, "verify", "--seals")
		})
	}
}

// A move leaves a copy in the old partition, and the backup may come back. All lists stay valid.
func TestSealsAfterMoves(t *testing.T) {
	s := sealing(t, "default", "cold")
	for _, to := range []string{"cold", "default", "cold"} {
		out, err := s.run("move", "bob", to)
		if err != nil && !strings.Contains(out, "already") {
			t.Fatalf("%v: %s", err, out)
		}
		s.finds(nil, "verify", "--seals", s.out)
		s.seal()
		s.finds(nil, "verify", "--seals", s.out)
		s.nights(8)
		s.finds(nil, "verify", "--seals", s.out)
		s.seal()
	}
}

// With -v, verify --seals shows missing backups, and why they are gone.
func TestSealsExplain(t *testing.T) {
	s := sealing(t)
	if out := s.must("erase", "bob", "--yes", "--reason", "left the company"); !strings.Contains(out, "the signed lists of partition default keep the name bob") {
		t.Error(out)
	}
	if out := s.must("verify", "--seals", "-v"); !strings.Contains(out, "default:user/bob: it was erased by ") || !strings.Contains(out, "left the company") || !strings.Contains(out, "2 backups, 0 new, 1 gone") {
		t.Error(out)
	}
}

// Retention that this host does not have is tampering.
func TestSealsWithoutRetention(t *testing.T) {
	s := sealing(t)
	s.nights(9)
	s.shorter()
	s.finds(nil, "verify", "--seals", s.out)
	s.conf = strings.Replace(s.conf, sealRetention, "", 1)
	s.finds([]string{"default:user/bob: shortened: commits up to ", "backup_retention is not set on this host"}, "verify", "--seals", s.out)
}

// The state that retention leaves before the log is in the list, since nothing else shows that it was changed.
func TestSealsFindForgedBase(t *testing.T) {
	s := sealing(t)
	s.nights(9)
	s.shorter()
	s.seal()
	s.finds(nil, "verify", "--seals", s.out)
	l := &history.Log{Store: s.Stores[0], Backup: "user/bob"}
	base, err := l.Beginning(t.Context())
	if err != nil || base == 0 {
		t.Fatal(base, err)
	}
	f := s.forger()
	for _, key := range f.Stores[0].Keys("backups/user/bob/") {
		f.Stores[0].Lose(key)
	}
	box := tooltest.NewMailbox("user.bob")
	for range base {
		box.Deliver(tooltest.Mail("forged", "boss@example.org", 300), s.Now)
		f.Sync(box)
	}
	m, err := history.Load(t.Context(), f.Stores[0], "user/bob", history.Moment{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.WriteCheckpoint(t.Context(), packOptions()); err != nil {
		t.Fatal(err)
	}
	key := history.CheckpointKey("user/bob", base)
	put(s, key, f.Stores[0].Bytes(key))
	want := []string{"default:user/bob: checkpoint: " + key + " has another state than retention has left there"}
	s.finds(want, "verify", "--seals", s.out)
	s.finds(want, "seal", "-A", "--to", s.out)
}

func packOptions() pack.Options { return pack.Options{} }
