package okholds

import (
	"fmt"
	"testing"
)

// TestRollbackWhileStopped: the bucket is set back to an older copy while backupd does not
// run. The first user to come has had no commit since the copy; what he shares with
// another one is not taken for held.
func TestRollbackWhileStopped(t *testing.T) {
	onEach(t, func(t *testing.T, s *site) {
		s.mustPush("anne", "", "gen:5:300:1")
		s.mustPush("bob", "", "gen:5:300:2")
		older := s.snapshot()
		const same = "gen:25:50000:77" // a pack, which the copy does not have
		s.mustPush("anne", "New", same)
		s.restoreSnapshot(older)

		s.bring("bob", "New", same)
		s.mustVerify("bob")
		s.mustRestore("bob", 30)
		s.bring("anne", "New", same)
		s.mustVerify("anne")
		s.mustRestore("anne", 30)
		s.newIndex()
		if p := s.mustPush("bob", "New", same); p.Messages != 0 {
			t.Errorf("%d messages are sent again", p.Messages)
		}
		s.mustVerify("bob")
	})
}

// TestRollbackWhileRunning: the bucket is set back under a running backupd. No commit is
// put behind a gap, and what is answered OK afterwards can be restored.
func TestRollbackWhileRunning(t *testing.T) {
	onEach(t, func(t *testing.T, s *site) {
		stop := s.daemon()
		s.mustPush("anne", "", "gen:5:300:1")
		older := s.snapshot()
		s.mustPush("anne", "F1", "gen:5:300:2")
		s.mustPush("anne", "F2", "gen:5:300:3")
		s.restoreSnapshot(older)

		s.bring("anne", "F2", "gen:5:300:3")
		s.bring("anne", "F3", "gen:5:300:4")
		s.wantWholeLog("anne")
		s.mustVerify("anne")
		stop()
		s.mustPush("anne", "F1", "gen:5:300:2")
		s.wantWholeLog("anne")
		s.mustVerify("anne")
		s.mustRestore("anne", 20)

		s.newIndex()
		s.mustPush("anne", "F4", "gen:5:300:5")
		s.wantWholeLog("anne")
		s.mustVerify("anne")
		s.mustRestore("anne", 25)
	})
}

// wantWholeLog says where the log has a gap.
func (s *site) wantWholeLog(user string) {
	s.t.Helper()
	want := ""
	for i := range len(s.keys("backups/user/" + user + "/log/")) {
		want += fmt.Sprintf(" %d", i+1)
	}
	if got := " " + s.log(user); got != want {
		s.t.Errorf("the log of %s is%s", user, got)
	}
}
