package restore_test

import (
	"slices"
	"testing"

	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

func TestOwnSubs(t *testing.T) {
	a := &restore.Account{}
	for _, n := range []string{"user.anne", "user.anne.Sent", "user.bob.Sent", "shared.news", "example.org!user.anne.x"} {
		a.Subs = append(a.Subs, &history.SubEvent{User: "anne", Name: n, Subscribed: true})
	}
	if got := a.OwnSubs("internal", "DELETED"); !slices.Equal(got, []string{"user.anne", "user.anne.Sent"}) {
		t.Errorf("%q", got)
	}
}
