package okholds

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// exitPartial is the status of tools that had to skip something.
const exitPartial = 75

// TestHole: a commit in the middle of a log is missing. The tools restore the rest and report what
// is missing; the gap is not filled; a sync from the source repairs the backup.
func TestHole(t *testing.T) {
	onEach(t, func(t *testing.T, s *site) {
		push := func() {
			s.pushUntilOK("anne", "", "gen:5:300:1")
			for i := range 4 {
				s.pushUntilOK("anne", fmt.Sprintf("F%d", i), fmt.Sprintf("gen:5:300:%d", 10+i))
			}
		}
		push()
		const hole = "backups/user/anne/log/0000000000000004.tar.zst" // the mail of F0
		s.remove(hole)

		n, status, said := s.restored("anne")
		if n < 20 || status != exitPartial || !strings.Contains(said, "commit 4") {
			t.Errorf("restore: %d messages of the 20 remaining, status %d: %s", n, status, said)
		}
		out, status := s.run("cyr_backup", "-C", s.conf, "anne", "list", "mailboxes")
		if status != exitPartial || !strings.Contains(out, "commit 4") || !strings.Contains(out, "user.anne.F3") {
			t.Errorf("cyr_backup: status %d: %s", status, out)
		}
		if wrong := s.verify("anne"); !strings.Contains(wrong, "commit 4") {
			t.Errorf("verify: %s", wrong)
		}

		s.newIndex()
		s.pushUntilOK("anne", "G", "gen:5:300:20")
		push()
		if keys := s.keys(hole); len(keys) != 0 {
			t.Error("the gap was filled")
		}
		s.mustVerify("anne")
		s.mustRestore("anne", 30)
	})
}

// TestForeignFolder: the directory of a backup was copied to another user's name. That user is
// deferred; all others are served.
func TestForeignFolder(t *testing.T) {
	onEach(t, func(t *testing.T, s *site) {
		s.mustPush("anne", "", "gen:5:300:1")
		var copies []string
		for _, key := range s.keys("backups/user/anne/") {
			other := strings.Replace(key, "/anne/", "/bob/", 1)
			s.put(other, s.get(key))
			copies = append(copies, other)
		}
		s.own()
		if p := s.push("bob", "", "gen:3:300:3"); p.ok() || !strings.Contains(strings.Join(p.Failed, " "), "IMAP_MAILBOX_LOCKED") {
			t.Errorf("bob: %+v", p)
		}
		if wrong := s.verify("bob"); !strings.Contains(wrong, "anne") {
			t.Errorf("verify bob: %s", wrong)
		}
		s.mustPush("carl", "", "gen:3:300:2")
		out, _ := s.run("ctl_backups", "-C", s.conf, "list", "-A")
		for _, user := range []string{"user/anne", "user/carl"} {
			if !strings.Contains(out, user) {
				t.Errorf("list lacks %s: %s", user, out)
			}
		}
		s.remove(copies...)
		s.mustPush("bob", "", "gen:3:300:3")
		s.mustVerify("bob")
		s.mustVerify("anne")
	})
}

// TestRepositoryFileMissing: nothing is written while repository.json is missing, unless the index
// is missing too. When the file is back, everything works.
func TestRepositoryFileMissing(t *testing.T) {
	onEach(t, func(t *testing.T, s *site) {
		s.mustPush("anne", "", "gen:25:50000:1")
		s.mustPush("carl", "", "gen:3:300:2")
		const key = "repository.json"
		repository := s.get(key)
		s.remove(key)
		if p := s.push("carl", "X", "gen:3:300:4"); p.ok() || len(s.keys(key)) != 0 {
			t.Errorf("repository.json is missing: %+v", p)
		}
		s.newIndex()
		s.mustPush("carl", "X", "gen:3:300:4")
		s.mustVerify("carl")
		s.mustVerify("anne")
		s.put(key, repository)
		s.own()
		s.mustPush("carl", "X", "gen:3:300:4")
		s.mustPush("carl", "Y", "gen:3:300:5")
		s.mustVerify("carl")
		s.mustVerify("anne")
		s.mustRestore("carl", 9)
	})
}

// TestPackLost: a pack is lost while the source still has the mail. After verify --repair, the next
// sync uploads exactly its messages.
func TestPackLost(t *testing.T) {
	onEach(t, func(t *testing.T, s *site) {
		s.mustPush("anne", "", "gen:25:50000:1")
		s.mustPush("bob", "", "gen:3:300:2")
		lost := s.losePacks()
		if wrong := s.verify("anne"); wrong == "" {
			t.Error("verify reports no problem")
		}
		if out, status := s.run("ctl_backups", "-C", s.conf, "verify", "--repair", "anne"); status > 1 && status != exitPartial {
			t.Fatalf("verify --repair: status %d: %s", status, out)
		}
		if p := s.pushUntilOK("anne", "", "gen:25:50000:1"); p.Messages != lost {
			t.Errorf("%d messages uploaded again, %d were lost", p.Messages, lost)
		}
		s.mustVerify("anne")
		s.mustRestore("anne", 25)
		s.pushUntilOK("anne", "Z", "gen:25:50000:1")
		s.mustVerify("anne")
		s.mustRestore("anne", 50)
		s.mustVerify("bob")
	})
}

// TestPackLostUnnoticed: the same without a repair. A copy of the lost mail in another folder does
// not get a reference to the lost pack, whatever the index knows.
func TestPackLostUnnoticed(t *testing.T) {
	onEach(t, func(t *testing.T, s *site) {
		s.mustPush("anne", "", "gen:25:50000:1")
		s.losePacks()
		s.newIndex() // the new index does not know about the loss
		s.pushUntilOK("anne", "", "gen:25:50000:1")
		s.pushUntilOK("anne", "Z", "gen:25:50000:1")
		s.pushUntilOK("anne", "", "gen:25:50000:1")
		s.mustVerify("anne")
		s.mustRestore("anne", 50)
	})
}

// losePacks removes all packs, and returns how many messages of anne have become unreadable.
func (s *site) losePacks() (messages int) {
	s.t.Helper()
	packs := s.keys("packs/")
	if len(packs) == 0 {
		s.t.Fatal("there are no packs")
	}
	s.remove(packs...)
	out, _ := s.run("ctl_backups", "-C", s.conf, "verify", "anne")
	for line := range bytes.Lines([]byte(out)) {
		if bytes.HasPrefix(line, []byte("anne: message ")) {
			messages++
		}
	}
	if messages == 0 {
		s.t.Fatalf("no message was lost with %v: %s", packs, out)
	}
	return messages
}
