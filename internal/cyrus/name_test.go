package cyrus

import (
	"testing"

	"pgregory.net/rapid"
)

func TestOwner(t *testing.T) {
	for _, c := range []struct{ name, userid, shared string }{
		{"user.anne", "anne", ""},
		{"user.anne.Sent", "anne", ""},
		{"user.anne^smith.a^b", "anne.smith", ""},
		{"example.com!user.anne.x", "anne@example.com", ""},
		{"internal!user.anne.x", "anne", ""},
		{"DELETED.user.anne.x.65550A1B", "anne", ""},
		{"DELETED.user.anne.65550A1B", "anne", ""},
		{"example.com!DELETED.user.anne.x.65550A1B", "anne@example.com", ""},
		{"shared.news", "", "shared"},
		{"DELETED.shared.news.65550A1B", "", "shared"},
		{"example.com!shared.news", "", "example.com!shared"},
		{"user", "", "user"},
		{"user.", "", "user"},
		{"User.anne", "", "User"},
		{"DELETED.user", "", "DELETED"},
		{"DELETED", "", "DELETED"},
		{"user.anne.#calendars.Default", "anne", ""},
		{"user.a&AOk-.Sent", "a&AOk-", ""},
		{"", "", ""},
	} {
		userid, shared := Owner(c.name, "internal", "DELETED")
		if userid != c.userid || shared != c.shared {
			t.Errorf("%s: %q, %q", c.name, userid, shared)
		}
	}
}

func TestIsDeletedIsInbox(t *testing.T) {
	for name, want := range map[string][2]bool{
		"user.anne":                              {false, true},
		"user.anne.Sent":                         {false, false},
		"example.com!user.anne":                  {false, true},
		"DELETED.user.anne.65550A1B":             {true, false},
		"example.com!DELETED.user.anne.65550A1B": {true, false},
		"DELETED.x":                              {false, false},
		"user.":                                  {false, false},
		"shared":                                 {false, false},
	} {
		if got := [2]bool{IsDeleted(name, "DELETED"), IsInbox(name)}; got != want {
			t.Errorf("%s: deleted, inbox = %v", name, got)
		}
	}
}

func TestAdminForm(t *testing.T) {
	unix := AdminForm{UnixHierarchySep: true, DefaultDomain: "internal", VirtDomains: true}
	dots := AdminForm{DefaultDomain: "internal", VirtDomains: true}
	for _, c := range []struct {
		f                  AdminForm
		internal, external string
	}{
		{unix, "user.anne^smith.a^b", "user/anne.smith/a.b"},
		{unix, "example.com!user.anne.x", "user/anne/x@example.com"},
		{unix, "DELETED.user.anne.65550A1B", "DELETED/user/anne/65550A1B"},
		{dots, "user.anne^smith.Sent", "user.anne^smith.Sent"},
		{dots, "example.com!shared.a", "shared.a@example.com"},
		{unix, "user.a&AOk-", "user/a&AOk-"},
	} {
		if got := c.f.External(c.internal); got != c.external {
			t.Errorf("%s: external %s, want %s", c.internal, got, c.external)
		}
		if got := c.f.Internal(c.external); got != c.internal {
			t.Errorf("%s: internal %s, want %s", c.external, got, c.internal)
		}
	}
	if got := (AdminForm{UnixHierarchySep: true}).Internal("user/a@b.c"); got != "user.a@b^c" {
		t.Errorf("without virtdomains: %s", got)
	}
}

func TestInboxAndOwnerAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		userid := rapid.StringMatching(`[a-z][a-z.+-]{0,8}(@[a-z]{1,5}\.org)?`).Draw(t, "userid")
		name := Inbox(userid, "internal")
		got, _ := Owner(name+".Sent", "internal", "DELETED")
		if !IsInbox(name) || got != userid {
			t.Fatalf("%s → %s → %s", userid, name, got)
		}
	})
}
