package imapdest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
)

func remove(t *testing.T, s *server, folder string, uid imap.UID) {
	t.Helper()
	c := s.client()
	if _, err := c.Select(folder, nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Store(imap.UIDSetNum(uid), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Expunge().Close(); err != nil {
		t.Fatal(err)
	}
}

func withKeywords(t *testing.T) *restoretest.Backup {
	t.Helper()
	t.Parallel()
	b := restoretest.New(t, "anne")
	x := b.Box("user.anne")
	x.Deliver(restoretest.Mail("one"), 1600000000, `\Seen`, "$One", "$Bad")
	x.Deliver(restoretest.Mail("two"), 1600000001, "$Bad", "$One", "two words")
	x.Deliver(restoretest.Mail("three"), 1600000002, `\Flagged`)
	b.Sync()
	return b
}

// A refused flag is reported for each message. The body is sent once, other flags are set, and
// the refused one is set as soon as the server accepts it.
func TestRefusedFlag(t *testing.T) {
	b := withKeywords(t)
	full := true
	refuse := func(f imap.Flag) error {
		if full && strings.EqualFold(string(f), "$Bad") {
			return &imap.Error{Type: imap.StatusResponseTypeNo, Text: "Too many user flags"}
		}
		return nil
	}
	s := (&server{store: refuse}).start(t)
	dir := t.TempDir()
	for _, added := range []int{3, 0} {
		r := s.wants(b, dir, added, 3-added, 2)
		for i, want := range []string{"user.anne: uid 1 (message ", "user.anne: uid 2 (message "} {
			if !strings.HasPrefix(r.problems[i], want) || !strings.Contains(r.problems[i], "$Bad (Too many user flags)") {
				t.Errorf("problem %q", r.problems[i])
			}
		}
		if !strings.Contains(r.problems[1], "two words (IMAP has no such flags)") {
			t.Errorf("problem %q", r.problems[1])
		}
		same(t, s.flagsOf("INBOX"), []string{`$one \seen`, "$one", `\flagged`})
	}
	full = false
	s.wants(b, dir, 0, 3, 1)
	same(t, s.flagsOf("INBOX"), []string{`$bad $one \seen`, "$bad $one", `\flagged`})
	if n := s.appends.Load(); n != 3 {
		t.Errorf("%d messages were sent", n)
	}
}

// A folder that accepts no new flags is not asked to.
func TestFolderWithoutNewFlags(t *testing.T) {
	b := withKeywords(t)
	asked := 0
	s := (&server{
		selected: func(d *imap.SelectData) {
			d.PermanentFlags = slices.DeleteFunc(d.PermanentFlags, func(f imap.Flag) bool { return f == imap.FlagWildcard })
			d.PermanentFlags = append(d.PermanentFlags, imap.FlagSeen, imap.FlagFlagged, "$one")
		},
		store: func(f imap.Flag) error {
			if strings.EqualFold(string(f), "$Bad") {
				asked++
			}
			return nil
		},
	}).start(t)
	s.wants(b, t.TempDir(), 3, 0, 2)
	same(t, s.flagsOf("INBOX"), []string{`$one \seen`, "$one", `\flagged`})
	if asked != 0 {
		t.Errorf("%d requests for the flag", asked)
	}
}

// Without UIDPLUS the message is searched for, so that a flag can be set afterwards.
func TestRefusedFlagWithoutUIDPLUS(t *testing.T) {
	b := withKeywords(t)
	s := (&server{noUID: true, changes: crlf, store: func(f imap.Flag) error {
		if strings.EqualFold(string(f), "$Bad") {
			return &imap.Error{Type: imap.StatusResponseTypeNo, Text: "Too many user flags"}
		}
		return nil
	}}).start(t)
	s.wants(b, t.TempDir(), 3, 0, 2)
	same(t, s.flagsOf("INBOX"), []string{`$one \seen`, "$one", `\flagged`})
	if n := s.appends.Load(); n != 3 {
		t.Errorf("%d messages were sent", n)
	}
}
