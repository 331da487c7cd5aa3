package ctlbackups

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/attestation"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// tampering is what somebody with all rights on the bucket does.
type tampering struct {
	do func(*sealed, memstore.Snapshot) // the snapshot is of the bucket at list 1
	// copied are findings with the copy of the lists, alone those without (none = it cannot be noticed), sealed those of
	// the next seal.
	copied, alone, sealed []string
	lasting               bool // it is reported until it is mended, whatever a person accepts
}

// untilMended is tampering that must be mended.
func untilMended(of tampering) tampering {
	of.lasting = true
	return of
}

// always is tampering that is found without the copy, too.
func always(do func(*sealed, memstore.Snapshot), want ...string) tampering {
	return tampering{do: do, copied: want, alone: want, sealed: want}
}

// byCopy is tampering that only the copy shows.
func byCopy(do func(*sealed, memstore.Snapshot), want ...string) tampering {
	return tampering{do: do, copied: want, sealed: want}
}

func tamperings() map[string]tampering {
	rolled := "default:user/bob: rolled-back: the log ends with commit 3, and commit 5 ("
	missing := "default: list: list 2 (2026-11-20 12:08:00 UTC) is missing from the bucket"
	emptied := "default: list: repository.json is missing, and there are signed lists"
	rewritten := "default:user/bob: rewritten: commit 5 has the hash "
	return map[string]tampering{
		"the newest commit rewritten, and the chain is consistent": always(rewriteNewest, rewritten),
		"the whole log rewritten":                                  always(rewriteAll, rewritten),
		"the newest commits removed":                               always(lose(history.LogKey("user/bob", 4), history.LogKey("user/bob", 5)), rolled),
		"all backups set back":                                     always(setBack("backups/"), rolled),
		"the bucket set back, with its lists":                      byCopy(setBack(""), rolled, missing),
		"a backup removed":                                         always(loseAll("backups/user/anne/"), "default:user/anne: removed: the backup was removed; its newest commit was 1 ("),
		"a backup removed, with an erasure of another one":         always(forgeErasure, "default:user/anne: removed: "),
		"the beginning of a log removed":                           always(lose(history.LogKey("user/bob", 1)), "default:user/bob: shortened: commits 1 to 1 were removed, and the log does not record that"),
		"a log damaged":                                            untilMended(always(damage(1), "default:user/anne: unreadable: commit 1 cannot be read")),
		"backup.json removed and the log damaged": {damage(2), []string{"default:user/anne: unreadable: commit 1 cannot be read: "},
			[]string{"default:user/anne: unreadable: commit 1 cannot be read: "}, []string{"default:user/anne: unreadable: partition default: backups/user/anne: backup.json is missing"}, true},
		"backup.json removed": untilMended(always(lose(repository.BackupInfoKey("user/anne")), "default:user/anne: unreadable: ", "backup.json is missing")),
		"a forged list":       always(forge(3), "default: list: list 3 is not genuine: no valid signature: it is by the key "),
		"a replaced list": {forge(2), []string{"list 2 is not genuine", "list 2 was replaced"}, []string{"list 2 is not genuine"},
			[]string{"list 2 is not genuine", "list 2 was replaced"}, false},
		"the newest list removed":    byCopy(loseAll("attestations/0000000000000002"), missing),
		"repository.json removed":    untilMended(always(lose(repository.Key), emptied)),
		"the bucket emptied":         untilMended(byCopy(loseAll(""), emptied)),
		"a list removed":             always(loseAll("attestations/0000000000000001"), "list 1 was removed: list 2 continues it"),
		"a list without its content": always(loseList, "list 1 (2026-11-20 12:05:00 UTC) was removed; only its signature is left"),
		"the newest list truncated":  always(truncateList, "list 2 (2026-11-20 12:08:00 UTC) was changed: it has "),
		"an older list again":        always(replayList, "list 3 is not genuine: no valid signature: it is that of list 1"),
		"a list of another bucket":   always(foreign, "list 3 is not genuine: it is of the repository "),
	}
}

// verify --seals reports every kind of tampering, and the next seal does, too. What only the copy outside of the bucket
// shows, is reported with it.
func TestSealsFindTampering(t *testing.T) {
	for name, c := range tamperings() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sealing(t)
			before := s.Stores[0].Snapshot()
			s.mail(2)
			s.seal()
			s.finds(nil, "verify", "--seals", s.out)
			c.do(s, before)
			s.finds(c.copied, "verify", "--seals", s.out)
			if name != "the bucket emptied" { // then there is no list, which is an error
				s.finds(c.alone, "verify", "--seals")
			}
			s.Now = s.Now.Add(time.Hour)
			s.finds(c.sealed, "seal", "-A", "--to", s.out)
			if !c.lasting {
				s.accept()
				s.finds(nil, "verify", "--seals", s.out)
				s.finds(nil, "verify", "--seals")
				s.seal()
			}
		})
	}
}

func lose(keys ...string) func(*sealed, memstore.Snapshot) {
	return func(s *sealed, _ memstore.Snapshot) {
		for _, key := range keys {
			s.Stores[0].Lose(key)
		}
	}
}

func loseAll(prefix string) func(*sealed, memstore.Snapshot) {
	return func(s *sealed, _ memstore.Snapshot) {
		for _, key := range s.Stores[0].Keys(prefix) {
			s.Stores[0].Lose(key)
		}
	}
}

func setBack(prefix string) func(*sealed, memstore.Snapshot) {
	return func(s *sealed, before memstore.Snapshot) { s.Stores[0].Rollback(before, prefix, false) }
}

// rewriteNewest removes the newest commit, and puts another commit, which continues the log.
func rewriteNewest(s *sealed, _ memstore.Snapshot) {
	f := s.forger()
	f.Stores[0].Lose(history.LogKey("user/bob", 5))
	box := tooltest.NewMailbox("user.bob")
	box.Deliver(tooltest.Mail("forged", "boss@example.org", 300), s.Now)
	f.Sync(box)
	s.Stores[0].Rollback(f.Stores[0].Snapshot(), "", false)
}

func rewriteAll(s *sealed, _ memstore.Snapshot) {
	f := s.forger()
	for _, key := range f.Stores[0].Keys("backups/user/bob/log/") {
		f.Stores[0].Lose(key)
	}
	box := tooltest.NewMailbox("user.bob")
	for range 6 {
		box.Deliver(tooltest.Mail("forged", "boss@example.org", 300), s.Now)
		f.Sync(box)
	}
	s.Stores[0].Rollback(f.Stores[0].Snapshot(), "", false)
}

// forgeErasure removes a backup, and puts the record of an erasure with another id.
func forgeErasure(s *sealed, before memstore.Snapshot) {
	loseAll("backups/user/anne/")(s, before)
	e := repository.NewErasure(repository.NewID(), repository.UserName("anne"), time.Time{})
	e.State, e.IDs = repository.ErasureDone, []string{repository.NewID()}
	if _, err := e.Put(s.t.Context(), s.Stores[0], ""); err != nil {
		s.t.Fatal(err)
	}
}

// damage flips a bit of anne's only commit; with 2 objects, backup.json is removed as well.
func damage(objects int) func(*sealed, memstore.Snapshot) {
	return func(s *sealed, _ memstore.Snapshot) {
		s.Damage(history.LogKey("user/anne", 1))
		if objects > 1 {
			s.Stores[0].Lose(repository.BackupInfoKey("user/anne"))
		}
	}
}

// forge puts a list that is signed with another key.
func forge(n int) func(*sealed, memstore.Snapshot) {
	return func(s *sealed, _ memstore.Snapshot) {
		other := *s
		other.conf = sealRetention + "backup_seal_key: " + filepath.Join(s.t.TempDir(), "other.key") + "\n"
		attacker := &sealed{World: s.forger(), t: s.t, conf: other.conf}
		for _, key := range attacker.Stores[0].Keys(attestation.Prefix) {
			if n == 3 || strings.Contains(key, "0000000000000002") {
				attacker.Stores[0].Lose(key)
			}
		}
		attacker.key()
		for range n {
			_, _ = attacker.run("seal", "-A") // it reports the lists that are left
		}
		for _, key := range attacker.Stores[0].Keys(attestation.SignatureKey(uint64(n))) {
			put(s, key, attacker.Stores[0].Bytes(key))
		}
	}
}

// key makes the key of this world.
func (s *sealed) key() {
	s.t.Helper()
	_, path, _ := strings.Cut(strings.TrimSpace(s.conf), "backup_seal_key: ")
	if _, err := attestation.CreateSecretKey(path); err != nil {
		s.t.Fatal(err)
	}
}

func put(s *sealed, key string, b []byte) {
	if _, err := s.Stores[0].Put(s.t.Context(), key, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

func listKey(s *sealed, n string) string {
	for _, key := range s.Stores[0].Keys("attestations/" + n + "-") {
		return key
	}
	s.t.Fatalf("no list %s", n)
	return ""
}

func loseList(s *sealed, _ memstore.Snapshot) { s.Stores[0].Lose(listKey(s, "0000000000000001")) }
func truncateList(s *sealed, _ memstore.Snapshot) {
	s.Stores[0].Truncate(listKey(s, "0000000000000002"), 50)
}

func replayList(s *sealed, _ memstore.Snapshot) {
	put(s, attestation.SignatureKey(3), s.Stores[0].Bytes(attestation.SignatureKey(1)))
}

// foreign puts a list of another repository, signed with the same key.
func foreign(s *sealed, _ memstore.Snapshot) {
	other := &sealed{World: tooltest.New(s.t, "default"), t: s.t, conf: s.conf}
	box := tooltest.NewMailbox("user.dave")
	box.Deliver(tooltest.Mail("for dave", "carol@example.org", 300), s.Now)
	other.Sync(box)
	for range 3 {
		other.must("seal", "-A")
	}
	put(s, attestation.SignatureKey(3), other.Stores[0].Bytes(attestation.SignatureKey(3)))
}
