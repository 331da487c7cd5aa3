package ctlbackups

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// moreLegitimate are changes that take several nights, or that damage has made necessary.
func moreLegitimate() map[string]func(*sealed) {
	return map[string]func(*sealed){
		"a hold, and its release": func(s *sealed) {
			s.must("hold", "bob", "--reason", "case 4711")
			s.sealedNights(2)
			s.must("release", "bob")
			s.sealedNights(9)
		},
		"messages erased": func(s *sealed) {
			record := s.bob.Deliver(tooltest.Mail("secret", "carol@example.org", 300), s.Now)
			s.Sync(s.bob)
			s.sealedNights(2)
			s.bob.Expunge(uint32(len(s.bob.Records)) - 2)
			s.sealedNights(6)
			out, err := s.run("erase", "bob", "--yes", "--reason", "request", "--message", record.GUID.String())
			if err != nil && !strings.Contains(out, "no moment has") {
				s.t.Fatalf("%v: %s", err, out)
			}
			s.finds(nil, "verify", "--seals", s.out)
			s.sealedNights(3)
		},
		"history erased, and the nights after": func(s *sealed) {
			s.sealedNights(7)
			s.must("erase", "bob", "--yes", "--before", s.Now.AddDate(0, 0, -3).Format(time.RFC3339), "--reason", "request")
			s.sealedNights(4)
		},
		"a new life of the name": func(s *sealed) {
			s.bob = tooltest.NewMailbox("user.bob")
			s.mail(2)
			s.sealedNights(4)
		},
		"retention with single moments": func(s *sealed) {
			s.conf += "backup_keep_weekly: 3\nbackup_keep_daily: 5\n"
			s.sealedNights(16)
		},
		"a copy without an id, set aside and erased": func(s *sealed) {
			s.must("set-aside", "bob")
			for _, key := range s.Stores[0].Keys("set-aside/user/bob/") {
				if strings.HasSuffix(key, "/backup.json") {
					s.Stores[0].Lose(key)
				}
			}
			s.seal()
			s.must("erase", "bob", "--yes", "--reason", "left")
		},
		"a backup without backup.json, erased": func(s *sealed) {
			s.Stores[0].Lose(repository.BackupInfoKey("user/bob"))
			s.must("verify", "--repair", "bob")
			s.seal()
			s.must("erase", "bob", "--yes", "--reason", "left")
		},
		"a damaged backup, set aside": func(s *sealed) {
			s.Damage(history.LogKey("user/anne", 1))
			s.finds([]string{"default:user/anne: unreadable: "}, "seal", "-A", "--to", s.out)
			s.must("set-aside", "anne")
		},
		"the store's clock is ahead": func(s *sealed) {
			s.Ahead = 5 * 24 * time.Hour
			s.seal()
			s.finds(nil, "verify", "--seals", s.out)
			s.Ahead = 0
			s.sealedNights(9)
		},
		"the store's clock is behind": func(s *sealed) {
			s.sealedNights(5)
			s.Ahead = -5 * 24 * time.Hour
			s.seal()
			s.finds(nil, "verify", "--seals", s.out)
			s.Ahead = 0
			s.must("erase", "anne", "--yes", "--reason", "left")
		},
		"repository.json lost and repaired": func(s *sealed) {
			s.Stores[0].Lose(repository.Key)
			s.must("verify", "--repair", "-A")
		},
		"a list every hour": func(s *sealed) {
			for range 30 {
				s.mail(1)
				s.Now = s.Now.Add(time.Hour)
				s.seal()
			}
			s.sealedNights(6)
		},
	}
}

// sealedNights is nights, with a list and a comparison each night.
func (s *sealed) sealedNights(n int) {
	s.t.Helper()
	for range n {
		s.nights(1)
		s.finds(nil, "verify", "--seals", s.out)
		s.seal()
	}
}

func TestSealsAreSilentForNights(t *testing.T) {
	for name, change := range moreLegitimate() {
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

// A move that was interrupted is no finding, on both sides, and neither is its end.
func TestSealsDuringMove(t *testing.T) {
	t.Parallel()
	s := sealing(t, "default", "cold")
	in, other := s.partitionOf("bob")
	s.interrupted(other, "log/", 3)
	s.interrupted(other, "backup.json", 1)
	s.must("move", "bob", s.Parts[other].Name)
	s.finds(nil, "verify", "--seals", s.out)
	s.seal()
	// The way back stops in the middle: the log there has what it had.
	s.mail(3)
	s.interrupted(in, "log/", 2)
	s.must("move", "bob", s.Parts[in].Name)
	s.finds(nil, "verify", "--seals", s.out)
	s.seal()
	s.finds(nil, "verify", "--seals")
}

// interrupted moves bob to a partition, fails at the nth put of an object of the backup, and makes a list.
func (s *sealed) interrupted(to int, object string, n int) {
	s.t.Helper()
	s.Stores[to].SetFaults(func(op, key string) error {
		if op != "put" || !strings.HasPrefix(key, "backups/user/bob/"+object) {
			return nil
		}
		if n--; n > 0 {
			return nil
		}
		return fs.ErrPermission
	}, nil)
	if out, err := s.run("move", "bob", s.Parts[to].Name); err == nil {
		s.t.Fatalf("it has moved: %s", out)
	}
	s.Stores[to].SetFaults(nil, nil)
	s.finds(nil, "verify", "--seals", s.out)
	s.seal()
	s.finds(nil, "verify", "--seals", s.out)
}

// A copy that exports keep up to date is silent, also if retention has removed more from the original than the copy had.
func TestSealsOfExports(t *testing.T) {
	t.Parallel()
	s := sealing(t)
	dir := filepath.Join(t.TempDir(), "out")
	mirror := &sealed{World: tooltest.New(t, "mirror"), t: t, conf: s.conf, out: t.TempDir()}
	sync := func() {
		s.must("export", "bob", dir)
		mirror.Now = s.Now
		mirror.fill(dir)
	}
	sync()
	mirror.seal()
	for range 3 {
		s.nights(12)
		mirror.Now = s.Now
		mirror.seal()
		sync()
		mirror.finds(nil, "verify", "--seals", mirror.out)
		mirror.seal()
		mirror.finds(nil, "verify", "--seals", mirror.out)
	}
}

// fill copies the files of a directory to the first partition, if they have changed.
func (s *sealed) fill(dir string) {
	s.t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		key, err := filepath.Rel(dir, name)
		if there := s.Stores[0].Keys(key); err == nil && (len(there) == 0 || !bytes.Equal(s.Stores[0].Bytes(key), b)) {
			put(s, key, b)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// A former key signs no new list. Its lists stay valid.
func TestSealsWithNewKey(t *testing.T) {
	s := sealing(t)
	old := s.publicKey()
	_, former, _ := strings.Cut(strings.TrimSpace(s.conf), "backup_seal_key: ")
	s.conf = strings.Replace(s.conf, former, filepath.Join(t.TempDir(), "new.key"), 1)
	s.key()
	s.conf += "backup_seal_public_keys: " + s.publicKey() + " " + old + ":1\n"
	s.seal()
	s.finds(nil, "verify", "--seals", s.out)
	// Somebody has found the former key.
	attacker := *s
	attacker.conf = sealRetention + "backup_seal_key: " + former + "\nbackup_seal_public_keys: " + old + " " + s.publicKey() + "\n"
	attacker.must("seal", "-A")
	s.finds([]string{"default: list: list 3 is not genuine: no valid signature: the key ", "signs no list after 1"}, "verify", "--seals", s.out)
	// The secret key of today is not in the option.
	attacker.conf = sealRetention + "backup_seal_key: " + former + "\nbackup_seal_public_keys: " + s.publicKey() + "\n"
	if out, err := attacker.run("seal", "-A"); err == nil || !strings.Contains(out+err.Error(), "is not in backup_seal_public_keys") {
		t.Errorf("%v: %s", err, out)
	}
	// A former key is missing from the option: this is one line.
	s.conf = strings.Replace(s.conf, " "+old+":1", "", 1)
	if out, err := s.run("verify", "--seals"); err == nil || !strings.Contains(out, "Is backup_seal_public_keys complete?") && !strings.Contains(out, "is not genuine") {
		t.Errorf("%v: %s", err, out)
	}
}

// publicKey returns the public key of backup_seal_key.
func (s *sealed) publicKey() string {
	s.t.Helper()
	c := &command{bucket: s.Bucket(s.conf)}
	keys, err := c.publicKeys()
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := keys[0].MarshalText()
	if err != nil || errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(text[bytes.LastIndexByte(bytes.TrimSpace(text), '\n')+1:]))
}
