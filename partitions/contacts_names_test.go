package partitions_test

import (
	"fmt"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A mail server asks for a user who has no backup. The user has a contact once the backup begins.
func TestContactOnceABackupBegins(t *testing.T) {
	h, clock, _ := contactHost(t)
	h.sync("anne", newSource("user.anne"))
	before := h.keys()
	c := h.client()
	if _, _, err := c.getUser("bob"); err != nil {
		t.Fatal(err)
	}
	c.s.Restart(t.Context())
	if n := h.keys(); n != before {
		t.Errorf("%d keys in the index, want %d as before", n, before)
	}
	h.sync("bob", newSource("user.bob"))
	if k := h.known("user/bob"); k.Client != "repl [127.0.0.1]" || !k.Contact.Equal(clock.now()) {
		t.Errorf("%+v", k)
	}
}

// The refusal of a user without a backup ends with a success, although there is no backup then either.
func TestRefusalWithoutABackupEnds(t *testing.T) {
	h, _, _ := contactHost(t)
	h.sync("anne", newSource("user.anne"))
	before := h.keys()
	h.set.Refused("repl [127.0.0.1]", h.set.Use(repository.UserName("bob")), cyrus.ErrLocked)
	h.wantLacks("refused", map[string]int{"refused user/bob": 0})
	c := h.client()
	if _, _, err := c.getUser("bob"); err != nil {
		t.Fatal(err)
	}
	c.s.Close()
	h.wantLacks("after a success", map[string]int{})
	if n := h.keys(); n != before {
		t.Errorf("%d keys in the index, want %d as before", n, before)
	}
}

// Refusals of names without a backup are bounded. Those of backups are not.
func TestRefusedNamesAreBounded(t *testing.T) {
	const most, more = 10000, 500
	h, _, _ := contactHost(t)
	for _, user := range []string{"anne", "bob"} {
		h.sync(user, newSource("user."+user))
	}
	before := h.keys()
	refuse := func(user string) {
		b := h.set.Use(repository.UserName(user))
		defer h.set.Leave(b)
		h.set.Refused("repl [127.0.0.1]", b, cyrus.ErrLocked)
	}
	refuse("anne")
	for i := range most + more {
		refuse(fmt.Sprintf("nobody%d", i))
		if i%3000 == 0 {
			h.keys()
		}
	}
	refuse("bob")
	if n := h.keys() - before; n != most+1 { // with anne, and then bob
		t.Errorf("%d keys more in the index, want %d", n, most+1)
	}
	st, err := h.set.Status()
	if err != nil {
		t.Fatal(err)
	}
	if st.Lacking[partitions.BehindRefused] != most+1 {
		t.Errorf("lacking %v", st.Lacking)
	}
	for _, path := range []string{"user/anne", "user/bob"} {
		if h.known(path).Refused == nil {
			t.Errorf("%s is not refused", path)
		}
	}
}
