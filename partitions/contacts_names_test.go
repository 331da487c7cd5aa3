package partitions_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
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

// refuse refuses a command of a mail server about a user whose backup is not open.
func (h *host) refuse(client, user string) {
	b := h.set.Use(repository.UserName(user))
	defer h.set.Leave(b)
	h.set.Refused(client, b, cyrus.ErrLocked)
}

// Refusals of names without a backup are bounded, of each mail server. Those of backups are not. The census drops
// them after a week.
func TestRefusedNamesAreBounded(t *testing.T) {
	const most, more = 1000, 300
	h, clock, _ := contactHost(t)
	for _, user := range []string{"anne", "bob"} {
		h.sync(user, newSource("user."+user))
	}
	h.keys()
	h.stop() // a handle of a process that has just begun knows nothing
	h.start()
	if err := h.set.Census(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := h.keys()
	h.refuse("repl [127.0.0.1]", "anne")
	for i := range most + more {
		h.refuse("repl [127.0.0.1]", fmt.Sprintf("nobody%d", i))
		if i%300 == 0 {
			h.keys()
		}
	}
	h.refuse("repl [127.0.0.1]", "bob")
	h.refuse("other [127.0.0.1]", "carol")
	if n := h.keys() - before; n != most+4 { // with anne, bob, carol, and the other mail server
		t.Errorf("%d keys more in the index, want %d", n, most+4)
	}
	st, err := h.set.Status()
	if err != nil {
		t.Fatal(err)
	}
	if st.Lacking[partitions.BehindRefused] != most+3 {
		t.Errorf("lacking %v", st.Lacking)
	}
	for _, s := range st.Servers {
		if s.Unlisted != (s.Client == "repl [127.0.0.1]") {
			t.Errorf("%+v", s)
		}
	}
	clock.pass(4 * 24 * time.Hour)
	h.refuse("repl [127.0.0.1]", "nobody7")
	h.keys()
	clock.pass(4 * 24 * time.Hour)
	if err := h.set.Census(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.wantLacks("after a week", map[string]int{"refused user/anne": 0, "refused user/bob": 0, "refused user/nobody7": 0})
	if h.unlisted("repl [127.0.0.1]") {
		t.Error("refused users count as not listed after a week")
	}
}

// unlisted reports whether status shows that refused users of a mail server are not listed.
func (h *host) unlisted(client string) bool {
	h.t.Helper()
	st, err := h.set.Status()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, s := range st.Servers {
		if s.Client == client {
			return s.Unlisted
		}
	}
	h.t.Fatalf("no mail server %s", client)
	return false
}

// Not all refused users of a mail server had a place. The status shows that for a week, although others were
// reached meanwhile.
func TestUnlistedNames(t *testing.T) {
	const most, more = 1000, 300
	h, clock, _ := contactHost(t)
	h.sync("anne", newSource("user.anne"))
	for i := range most + more {
		if h.refuse("repl [127.0.0.1]", fmt.Sprint("nobody", i)); i%more == 0 {
			h.keys()
		}
	}
	h.keys()
	c := h.client()
	defer c.s.Close()
	for i := range more {
		if _, _, err := c.getUser(fmt.Sprint("nobody", i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, day := range []int{0, 3, 6, 9} {
		if h.unlisted("repl [127.0.0.1]") != (day < 7) {
			t.Errorf("on day %d", day)
		}
		clock.pass(3 * 24 * time.Hour)
	}
}

// Names that mail servers ask for, and that are then reached or refused, take no place of backups in memory.
func TestNamesInMemory(t *testing.T) {
	h, _, _ := contactHost(t)
	c := h.client()
	for i := range 50 {
		if _, _, err := c.getUser(fmt.Sprint("nobody", i)); err != nil {
			t.Fatal(err)
		}
	}
	c.s.Close()
	if n := h.set.ContactsInMemory(); n != 0 {
		t.Errorf("%d contacts in memory", n)
	}
}

// A backup that the index does not have at the moment when contacts are written keeps its contact.
func TestContactOfMissingEntry(t *testing.T) {
	h, clock, _ := contactHost(t)
	h.sync("anne", newSource("user.anne"))
	if err := h.index.Update(func(t *index.Txn) error { return t.Delete(index.BackupKey("user/anne")) }); err != nil {
		t.Fatal(err)
	}
	h.keys()
	if err := h.set.Census(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k := h.known("user/anne"); k.Client != "repl [127.0.0.1]" || !k.Contact.Equal(clock.now()) {
		t.Errorf("%+v", k)
	}
}

// A value of the index that cannot be read affects the contacts of no other backup.
func TestContactsBesideUnreadableValue(t *testing.T) {
	h, _, _ := contactHost(t)
	h.sync("anne", newSource("user.anne"))
	if err := h.index.Update(func(t *index.Txn) error { return t.Set(index.SummaryKey("p0", "user/bob"), []byte("{")) }); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"bob", "carol"} {
		h.refuse("repl [127.0.0.1]", user)
		if err := h.set.FlushContacts(); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.set.ContactsInMemory(); n != 0 {
		t.Errorf("%d contacts in memory", n)
	}
}

// Contacts with names that older versions have kept end with the next census. Those of backups stay.
func TestCensusForgetsNames(t *testing.T) {
	h, _, _ := contactHost(t)
	h.sync("anne", newSource("user.anne"))
	if err := h.set.Census(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := h.keys()
	if err := h.index.Update(func(t *index.Txn) error {
		return errors.Join(t.Set(index.ContactKey("user/nobody"), []byte("{}")), t.Set(index.OwedKey("user/nobody"), nil), t.Set(index.OwedKey("user/anne"), nil))
	}); err != nil {
		t.Fatal(err)
	}
	if err := h.set.Census(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := h.keys(); n != before+1 {
		t.Errorf("%d keys, want %d", n, before+1)
	}
	if k := h.known("user/anne"); k.Client == "" {
		t.Errorf("%+v", k)
	}
	h.wantLacks("anne", map[string]int{"compare user/anne": 0})
}

// owe notes for a mail server that names owe a comparison, and returns for how many there was room.
func (h *host) owe(client, name string, n int) (room int) {
	for i := range n {
		if err := h.set.Owe(repository.UserName(fmt.Sprint(name, i)), client); err == nil {
			room++
		}
	}
	return room
}

// Names without a backup that owe a comparison are bounded for each mail server, by their bytes, and end after a week.
// Backups always owe it.
func TestOwedNamesAreBounded(t *testing.T) {
	const least, many = 1800, 1900
	h, clock, _ := contactHost(t)
	h.sync("anne", newSource("user.anne"))
	if err := h.set.Census(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := h.keys()
	room := h.owe("large", "nobody", many)
	if room < least || room == many {
		t.Fatalf("room for %d names", room)
	}
	h.stop()
	h.start()
	if n := h.owe("large", "other", 1); n != 0 {
		t.Error("there is room in the next process")
	}
	if n := h.owe("small", "new", 200); n != 200 {
		t.Errorf("room for %d names of another mail server", n)
	}
	if n := h.owe("names", strings.Repeat("x", 1000), 900); n < 100 || n == 900 {
		t.Errorf("room for %d long names", n)
	}
	if n := h.owe("large", "new", 1); n != 1 {
		t.Error("a name that owes a comparison already is refused")
	}
	if err := h.set.Owe(repository.UserName("anne"), "large"); err != nil {
		t.Error(err)
	}
	h.wantLacks("anne", map[string]int{"compare user/anne": 0})
	for i := range 10 {
		if err := h.set.Settle(repository.UserName(fmt.Sprint("nobody", i))); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.owe("large", "other", 20); n < 5 || n > 15 {
		t.Errorf("room for %d names after 10 were compared", n)
	}
	clock.pass(8 * 24 * time.Hour)
	if err := h.set.Census(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := h.keys() - before; n != 1 {
		t.Errorf("%d keys more after a week", n)
	}
	h.wantLacks("after a week", map[string]int{"compare user/anne": 0})
	if n := h.owe("large", "nobody", 20); n != 20 {
		t.Errorf("after a week, room for %d names", n)
	}
}

// While no recent census shows which backups there are, many names may be backups of another host: they owe
// a comparison. They take no room if they exist then.
func TestOwedNamesWithoutACensus(t *testing.T) {
	const many = 2000
	h, clock, store := contactHost(t)
	if n := h.owe("large", "user", many); n != many {
		t.Errorf("before the first census, room for %d of %d names", n, many)
	}
	for i := range many {
		if err := h.set.Settle(repository.UserName(fmt.Sprint("user", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.set.Census(t.Context()); err != nil {
		t.Fatal(err)
	}
	clock.pass(partitions.CensusAge + time.Minute)
	if n := h.owe("large", "user", many); n != many {
		t.Errorf("after an old census, room for %d of %d names", n, many)
	}
	far := newHost(t, store)
	far.sync("user1", newSource("user.user1"))
	if err := h.set.Census(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := h.owe("large", "user", 3); n != 3 {
		t.Errorf("names that owe a comparison already: %d of 3", n)
	}
	if n := h.owe("large", "more", 1); n != 0 {
		t.Error("there is room for more names, with a new census")
	}
}

// A value of the index about a backup cannot be read: it may exist, so it owes a comparison, and its refusal is listed.
// The index entry of another backup is missing: it owes one as well, beside names that take all room.
func TestOwedBesideMissingValues(t *testing.T) {
	h, _, _ := contactHost(t)
	for _, user := range []string{"anne", "bob"} {
		h.sync(user, newSource("user."+user))
	}
	h.keys()
	if err := h.set.Census(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.stop()
	h.start()
	if n := h.owe("repl [127.0.0.1]", "nobody", 1900); n == 1900 {
		t.Fatal("there is still room: this test no longer covers its case")
	}
	if err := h.index.Update(func(t *index.Txn) error {
		return errors.Join(t.Set(index.SummaryKey("p0", "user/carol"), []byte("{")), t.Set(index.BackupKey("user/anne"), []byte("{")), t.Delete(index.BackupKey("user/bob")))
	}); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"anne", "bob", "carol"} {
		if err := h.set.Owe(repository.UserName(user), "repl [127.0.0.1]"); err != nil {
			t.Errorf("%s: %v", user, err)
		}
		if owes, err := h.set.Owes(repository.UserName(user)); err != nil || !owes {
			t.Errorf("%s owes %v, %v", user, owes, err)
		}
	}
}
