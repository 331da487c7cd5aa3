package partitions_test

import (
	"slices"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions"
)

// lacks returns what the Set knows that backups lack, as "reason path".
func (h *host) lacks() (out map[string]int) {
	h.t.Helper()
	s, err := h.set.Status()
	if err != nil {
		h.t.Fatal(err)
	}
	out = map[string]int{}
	for _, b := range s.Behind {
		out[b.Why+" "+b.Path] = b.Count
	}
	if len(out) != s.Lacking[partitions.BehindRefused]+s.Lacking[partitions.BehindResync]+s.Lacking[partitions.BehindMissing]+s.Lacking[partitions.BehindCompare] {
		h.t.Errorf("%v, counted as %v", out, s.Lacking)
	}
	return out
}

func (h *host) wantLacks(when string, want map[string]int) {
	h.t.Helper()
	got := h.lacks()
	if len(got) != len(want) {
		h.t.Errorf("%s: %v, want %v", when, got, want)
	}
	for k, n := range want {
		if have, there := got[k]; !there || have != n {
			h.t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
}

// A mailbox in resync is known until the mail server has sent it, also by an index that was made from
// the bucket.
func TestStatusResync(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	inbox := newSource("user.anne")
	for i := range 3 {
		inbox.deliver(mail(i, 500))
	}
	old := *inbox
	old.records = slices.Clone(inbox.records)
	inbox.deliver(mail(10, 500))
	h.sync("anne", inbox)
	h.wantLacks("in sync", nil)
	h.sync("anne", &old) // detects the older state
	h.wantLacks("in resync", map[string]int{"resync user/anne": 1})
	other := newHost(t, s)
	if err := other.set.Backup(other.set.NameOf("user.anne")).BringUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	other.wantLacks("in an index from the bucket", map[string]int{"resync user/anne": 1})
	h.sync("anne", &old) // sends the mailbox whole
	h.wantLacks("after the resync", nil)
}

// Bodies that the mail server could not read are known until it sends them.
func TestStatusMissing(t *testing.T) {
	h, clock, _ := contactHost(t)
	inbox := newSource("user.anne")
	r := inbox.deliver(mail(1, 500))
	body := inbox.bodies[r.GUID]
	delete(inbox.bodies, r.GUID)
	h.sync("anne", inbox)
	h.wantLacks("without a body", map[string]int{"missing user/anne": 1})
	inbox.bodies[r.GUID] = body
	clock.pass(25 * time.Hour)
	h.sync("anne", inbox)
	h.wantLacks("with the body", nil)
}

// The status has the backups of each mail server and partition.
func TestStatusServers(t *testing.T) {
	h, clock, _ := contactHost(t)
	for _, user := range []string{"anne", "bob"} {
		inbox := newSource("user." + user)
		inbox.deliver(mail(1, 500))
		h.sync(user, inbox)
	}
	c := h.as("repl [192.0.2.7]")
	c.mustSync("bob", newSource("user.bob"))
	c.s.Close()
	s, err := h.set.Status()
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Servers) != 2 || s.Servers[0].Backups != 1 || s.Servers[1].Backups != 1 || s.Unknown != 0 {
		t.Errorf("servers %+v, %d unknown", s.Servers, s.Unknown)
	}
	if p := s.Partitions; len(p) != 1 || p[0].Backups != 2 || !p[0].Known || p[0].Counted.IsZero() || !p[0].Written.Equal(clock.now()) {
		t.Errorf("partitions %+v", p)
	}
}
