package ctlbackups

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Somebody with rights on the bucket prepares an explanation, and then removes or rewrites. None is believed.
func TestSealsBelieveNoForgedExplanation(t *testing.T) {
	removed := "default:user/anne: removed: "
	rewritten := "default:user/bob: rewritten: commit 3 has the hash "
	for name, c := range map[string]struct {
		do   func(*sealed)
		want string
	}{
		"a copy that was set aside, with one commit": {func(s *sealed) {
			s.asideStub("bob", 3).lose("backups/user/bob/")
		}, "default:user/bob: removed: "},
		"a copy that was set aside, with another id": {func(s *sealed) {
			s.must("set-aside", "anne")
			for _, key := range s.Stores[0].Keys("set-aside/user/anne/") {
				if strings.HasSuffix(key, "/backup.json") {
					s.renamed(key, repository.NewID())
				}
			}
		}, removed},
		"an erasure of another backup, whose id was put into backup.json": {func(s *sealed) {
			id := s.id("anne")
			s.must("erase", "anne", "--yes", "--reason", "left")
			s.renamed(repository.BackupInfoKey("user/bob"), id)
			s.seal()
			rewriteBob(s)
		}, rewritten},
		"an erasure that was over before the list": {func(s *sealed) {
			id := s.id("anne")
			s.must("erase", "anne", "--yes", "--reason", "left")
			box := tooltest.NewMailbox("user.anne")
			box.Deliver(tooltest.Mail("for another anne", "carol@example.org", 300), s.Now)
			s.Sync(box)
			s.Now = s.Now.Add(time.Hour)
			s.renamed(repository.BackupInfoKey("user/anne"), id)
			s.seal()
			s.lose("backups/user/anne/")
		}, removed},
		"commits in the middle were removed":                {func(s *sealed) { s.Stores[0].Lose(history.LogKey("user/bob", 2)) }, "default:user/bob: removed: commits 2 to 2 were removed, and others before and after them are there"},
		"commits in the middle, with a bridge":              {bridgeMiddle, "default:user/bob: removed: commits 2 to 2 were removed"},
		"repository.json has another id, and all rewritten": {func(s *sealed) { s.replaceRepository(); rewriteBob(s) }, rewritten},
		"repository.json has another id":                    {(*sealed).replaceRepository, "default: list: repository.json has the id "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sealing(t)
			c.do(s)
			s.finds([]string{c.want}, "verify", "--seals", s.out)
			s.finds([]string{c.want}, "verify", "--seals")
			for range 2 {
				s.Now = s.Now.AddDate(0, 0, 1)
				s.finds([]string{c.want}, "seal", "-A", "--to", s.out)
			}
			s.accept()
			s.finds(nil, "verify", "--seals", s.out)
			s.seal()
		})
	}
}

// rewriteBob replaces the newest commit of bob, which is commit 3, by another one.
func rewriteBob(s *sealed) {
	f := s.forger()
	f.Stores[0].Lose(history.LogKey("user/bob", 3))
	box := tooltest.NewMailbox("user.bob")
	box.Deliver(tooltest.Mail("forged", "boss@example.org", 300), s.Now)
	f.Sync(box)
	s.Stores[0].Rollback(f.Stores[0].Snapshot(), "", false)
}

// asideStub puts only the newest commit of a user where a backup would be that was set aside.
func (s *sealed) asideStub(user string, n uint64) *sealed {
	base := "set-aside/user/" + user + "/20261130T000000Z/"
	put(s, base+"set-aside.json", []byte(`{"version":1,"backup":"user/`+user+`","name":"`+user+`","kind":"user","since":"2026-11-30T00:00:00Z","reason":"x","state":"done"}`))
	key := history.LogKey("user/"+user, n)
	put(s, base+strings.TrimPrefix(key, "backups/user/"+user+"/"), s.Stores[0].Bytes(key))
	return s
}

// id returns the id of a user's backup.
func (s *sealed) id(user string) string {
	info, err := repository.ReadBackupInfo(s.t.Context(), s.Stores[0], "user/"+user)
	if err != nil {
		s.t.Fatal(err)
	}
	return info.ID
}

// renamed gives a backup.json another id.
func (s *sealed) renamed(key, id string) {
	var info repository.BackupInfo
	err := json.Unmarshal(s.Stores[0].Bytes(key), &info)
	info.ID = id
	b, merr := json.Marshal(info)
	if err != nil || merr != nil {
		s.t.Fatal(err, merr)
	}
	put(s, key, b)
}

// replaceRepository gives repository.json another id.
func (s *sealed) replaceRepository() {
	info, err := repository.ReadInfo(s.t.Context(), s.Stores[0])
	if err != nil {
		s.t.Fatal(err)
	}
	info.ID = repository.NewID()
	b, err := info.Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	put(s, repository.Key, b)
}

// bridgeMiddle removes commit 2 of bob, and puts a bridge that names it, as a daemon does after damage.
func bridgeMiddle(s *sealed) {
	s.Stores[0].Lose(history.LogKey("user/bob", 2))
	s.append(0, "bob", &history.BridgedEvent{Lost: []history.LostRange{{From: 2, To: 2, Reason: "missing"}}})
}

// append puts the next commit of a user into a partition, with one event.
func (s *sealed) append(part int, user string, e history.Event) {
	s.t.Helper()
	store, path := s.Stores[part], "user/"+user
	l := &history.Log{Store: store, Backup: path}
	survey, err := l.Survey(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	hash, err := survey.Hash(s.t.Context(), survey.Newest)
	if err != nil {
		s.t.Fatal(err)
	}
	h := history.Header{Backup: path, Number: survey.Newest + 1, Prev: hash, Time: s.Now, Host: "b1", Clock: s.Now}
	b := history.NewBuilder(h, packOptions())
	if err := b.Event(e); err != nil {
		s.t.Fatal(err)
	}
	object, _, err := b.Finish(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	putIn(s, part, history.LogKey(path, h.Number), object)
}

// A forged seal puts the history in use that is in another partition: it must be the continuation.
func TestSealsFindTakeover(t *testing.T) {
	s := sealing(t, "default", "cold")
	for _, to := range []string{"cold", "default"} {
		if out, err := s.run("move", "bob", to); err != nil && !strings.Contains(out, "already") {
			t.Fatalf("%v: %s", err, out)
		}
	}
	in, other := s.partitionOf("bob")
	s.mail(1)
	s.seal()
	repo, err := repository.ReadInfo(t.Context(), s.Stores[other])
	if err != nil {
		t.Fatal(err)
	}
	// The attacker appends a seal, and in the other partition as many forged commits as that needs, and the same seal.
	s.append(in, "bob", &history.SealedEvent{Reason: "moved", To: repo.ID})
	last, err := (&history.Log{Store: s.Stores[in], Backup: "user/bob"}).Newest(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for {
		at, err := (&history.Log{Store: s.Stores[other], Backup: "user/bob"}).Newest(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if at+1 == last {
			break
		}
		s.append(other, "bob", &history.SubEvent{User: "bob", Name: "forged", Subscribed: true})
	}
	putIn(s, other, history.LogKey("user/bob", last), s.Stores[in].Bytes(history.LogKey("user/bob", last)))
	want := []string{"user/bob: rewritten: it has moved to partition " + s.Parts[other].Name, "the backup there has another history"}
	s.finds(want, "verify", "--seals", s.out)
	for range 2 {
		s.finds(want, "seal", "-A", "--to", s.out)
		s.Now = s.Now.Add(time.Hour)
	}
	s.accept()
	s.finds(nil, "verify", "--seals", s.out)
	s.seal()
}

// The seal is forged first, and the other history a night later, with the two newest commits of the log and no others.
func TestSealsFindLaterTakeover(t *testing.T) {
	s := sealing(t, "default", "cold")
	s.mail(2)
	in, other := s.partitionOf("bob")
	for _, to := range []int{other, in} { // so that both have a repository
		s.must("move", "bob", s.Parts[to].Name)
	}
	for _, key := range s.Stores[other].Keys("backups/user/bob/") {
		s.Stores[other].Lose(key)
	}
	if out, err := s.run("seal", "-A", "--to", s.out); err != nil && !strings.Contains(out, "removed") {
		t.Fatalf("%v: %s", err, out)
	}
	repo, err := repository.ReadInfo(t.Context(), s.Stores[other])
	if err != nil {
		t.Fatal(err)
	}
	s.append(in, "bob", &history.SealedEvent{Reason: "moved", To: repo.ID})
	s.seal()
	s.seal()
	keys := s.Stores[in].Keys("backups/user/bob/log/")
	slices.Sort(keys)
	for _, key := range append(keys[len(keys)-2:], repository.BackupInfoKey("user/bob")) {
		putIn(s, other, key, s.Stores[in].Bytes(key))
	}
	want := []string{"user/bob: rewritten: it has moved to partition " + s.Parts[other].Name}
	s.finds(want, "verify", "--seals", s.out)
	s.finds(want, "seal", "-A", "--to", s.out)
	s.accept()
	s.finds(nil, "verify", "--seals", s.out)
	s.seal()
}

// partitionOf returns the partition where a backup is in use, and the other one.
func (s *sealed) partitionOf(user string) (in, other int) {
	f, err := repository.Find(s.t.Context(), s.Parts, repository.UserName(user))
	if err != nil {
		s.t.Fatal(err)
	}
	if f.Partition.Name == s.Parts[0].Name {
		return 0, 1
	}
	return 1, 0
}

// Retention removes nothing that is younger than backup_retention. A log that has moved away is never shortened.
func TestSealsFindEarlyRetention(t *testing.T) {
	s := sealing(t)
	s.conf = strings.Replace(s.conf, "backup_retention: 3d", "backup_retention: 30d", 1)
	s.Now = s.Now.AddDate(0, 0, 10)
	s.mail(1)
	s.seal()
	s.cut(4, 3)
	want := []string{"default:user/bob: shortened: commits up to 3 were removed, and ", "younger than 30d"}
	s.finds(want, "verify", "--seals", s.out)
	s.finds(want, "seal", "-A", "--to", s.out)
}

// A backup that was restored is no longer a difference, so one acceptance is enough. Others are reported by name.
func TestSealsCompareWithTheLastGoodState(t *testing.T) {
	s := sealing(t)
	good := s.Stores[0].Snapshot()
	rewriteBob(s)
	want := []string{"default:user/bob: rewritten: commit 3 has the hash "}
	s.finds(want, "seal", "-A", "--to", s.out)
	s.Stores[0].Rollback(good, "backups/user/bob/", false)
	s.mail(1)
	s.finds(want, "verify", "--seals", s.out)
	s.accept()
	s.finds(nil, "verify", "--seals", s.out)
	s.seal()
	// What was appended beside a finding is compared, too.
	s.Stores[0].Lose(history.LogKey("user/bob", 2))
	s.append(0, "bob", &history.SubEvent{User: "bob", Name: "later", Subscribed: true})
	s.finds([]string{"default:user/bob: removed: commits 2 to 2 "}, "seal", "-A", "--to", s.out)
	s.Stores[0].Lose(history.LogKey("user/bob", 5))
	want = []string{"default:user/bob: removed: commits 2 to 2 ", "default:user/bob: rolled-back: the log ends with commit 4, and commit 5 ("}
	s.finds(want, "verify", "--seals", s.out)
	s.finds(want, "seal", "-A", "--to", s.out)
	s.accept()
}

// repository.json has another id, everything was rewritten, and a list of another partition is in the place of one. The copy
// outside of the bucket shows whose lists they were.
func TestSealsFollowTheCopy(t *testing.T) {
	s := sealing(t, "default", "other")
	s.must("move", "anne", "other")
	s.seal()
	s.seal()
	theirs := s.Stores[1].Keys("attestations/0000000000000002")
	if len(theirs) == 0 {
		t.Fatal("the other partition has no second list: this test no longer covers its case")
	}
	for _, key := range theirs {
		put(s, key, s.Stores[1].Bytes(key))
	}
	s.replaceRepository()
	rewriteBob(s)
	want := []string{"default: list: repository.json has the id ", "default:user/bob: rewritten: commit 3 has the hash "}
	s.finds(want, "verify", "--seals", s.out)
	s.finds(want, "seal", "-A", "--to", s.out)
}
