package okholds

import (
	"fmt"
	"testing"
)

// TestRollbackWhileStopped: the bucket is reset to an older copy while backupd is stopped. The first
// user to connect has had no commit since the copy; a message shared with another user does not
// count as held.
func TestRollbackWhileStopped(t *testing.T) {
	onEach(t, func(t *testing.T, s *site) {
		s.mustPush("anne", "", "gen:5:300:1")
		s.mustPush("bob", "", "gen:5:300:2")
		older := s.snapshot()
		const same = "gen:25:50000:77" // a pack that the copy does not have
		s.mustPush("anne", "New", same)
		s.restoreSnapshot(older)

		s.pushUntilOK("bob", "New", same)
		s.mustVerify("bob")
		s.mustRestore("bob", 30)
		s.pushUntilOK("anne", "New", same)
		s.mustVerify("anne")
		s.mustRestore("anne", 30)
		s.newIndex()
		if p := s.mustPush("bob", "New", same); p.Messages != 0 {
			t.Errorf("%d messages were uploaded again", p.Messages)
		}
		s.mustVerify("bob")
	})
}

// TestRollbackWhileRunning: the bucket is reset while backupd is running. No commit is stored after a
// gap, and everything answered OK afterwards can be restored.
func TestRollbackWhileRunning(t *testing.T) {
	onEach(t, func(t *testing.T, s *site) {
		stop := s.daemon()
		s.mustPush("anne", "", "gen:5:300:1")
		older := s.snapshot()
		s.mustPush("anne", "F1", "gen:5:300:2")
		s.mustPush("anne", "F2", "gen:5:300:3")
		s.restoreSnapshot(older)

		s.pushUntilOK("anne", "F2", "gen:5:300:3")
		s.pushUntilOK("anne", "F3", "gen:5:300:4")
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

// wantWholeLog fails if the log has a gap.
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
