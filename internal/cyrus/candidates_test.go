package cyrus

import (
	"slices"
	"testing"
)

func TestCandidates(t *testing.T) {
	unix := AdminForm{UnixHierarchySep: true, DefaultDomain: "internal", VirtDomains: true}
	dots := AdminForm{DefaultDomain: "internal", VirtDomains: true}
	for _, c := range []struct {
		f    AdminForm
		word string
		want []string
	}{
		{unix, "user/anne/Sent", []string{"user.anne.Sent", "user/anne/Sent"}},
		{unix, "user/anne.smith", []string{"user.anne^smith", "user/anne.smith"}},
		{unix, "user.anne.a/b", []string{"user^anne^a.b", "user.anne.a/b"}},
		{unix, "user.anne.Sent", []string{"user.anne.Sent", "user^anne^Sent"}},
		{unix, "shared.news", []string{"shared^news", "shared.news"}},
		{unix, "example.org!user.carl.x", []string{"example.org!user.carl.x", "example^org!user^carl^x"}},
		{unix, "user/carl/x@example.org", []string{"example.org!user.carl.x", "user/carl/x@example.org"}},
		{unix, "user/anne/Entwürfe", []string{"user.anne.Entw&APw-rfe", "user/anne/Entw&APw-rfe"}},
		{unix, "user/anne/Entw&APw-rfe", []string{"user.anne.Entw&APw-rfe", "user/anne/Entw&APw-rfe", "user.anne.Entw&-APw-rfe", "user/anne/Entw&-APw-rfe"}},
		{unix, "user.anne.R&D", []string{"user.anne.R&-D", "user^anne^R&-D"}},
		{dots, "user.anne.日本", []string{"user.anne.&ZeVnLA-"}},
		{dots, "user.anne", []string{"user.anne"}},
	} {
		if got := c.f.Candidates(c.word); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.word, got, c.want)
		}
	}
}
