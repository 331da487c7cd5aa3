package partitions_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions"
)

func (h *host) counts() partitions.Counts { return h.set.Partitions()[0].Counts() }

// Commits, packs and messages are counted by where the bodies come from.
func TestCounts(t *testing.T) {
	h, _, _ := contactHost(t)
	inbox := newSource("user.anne")
	bodies := int64(0)
	for i := range 3 {
		bodies += int64(len(inbox.bodies[inbox.deliver(mail(i, 400<<10)).GUID])) // together too large for a commit
	}
	h.sync("anne", inbox)
	got := h.counts()
	if got.Commits == 0 || got.CommitBytes == 0 || got.Packs == 0 || got.PackBytes == 0 {
		t.Errorf("after a sync: %+v", got)
	}
	if want := (partitions.Amount{Messages: 3, Bytes: bodies}); got.Stored != want || h.set.Received() != want {
		t.Errorf("stored %+v, received %+v, want %+v", got.Stored, h.set.Received(), want)
	}
	if (got.Deduplicated != partitions.Amount{}) || (got.Missing != partitions.Amount{}) || got.Resyncs != 0 {
		t.Errorf("after a sync: %+v", got)
	}

	same := newSource("user.bob") // the same mail
	for i := range 3 {
		same.deliver(mail(i, 400<<10))
	}
	h.sync("bob", same)
	if got, want := h.counts().Deduplicated, (partitions.Amount{Messages: 3, Bytes: bodies}); got != want || h.counts().Stored.Messages != 3 {
		t.Errorf("deduplicated %+v, want %+v; %+v", got, want, h.counts())
	}

	lost := newSource("user.carl")
	r := lost.deliver(mail(9, 500))
	delete(lost.bodies, r.GUID)
	h.sync("carl", lost)
	if got, want := h.counts().Missing, (partitions.Amount{Messages: 1, Bytes: int64(r.Size)}); got != want {
		t.Errorf("missing %+v, want %+v", got, want)
	}
}

// A mailbox that goes into resync is counted once, by the host where that happens.
func TestCountResyncs(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	inbox := newSource("user.anne")
	inbox.deliver(mail(0, 500))
	old := *inbox
	old.records = slices.Clone(inbox.records)
	inbox.deliver(mail(10, 500))
	h.sync("anne", inbox)
	h.sync("anne", &old) // detects the older state
	h.sync("anne", &old) // sends the mailbox whole
	if n := h.counts().Resyncs; n != 1 {
		t.Errorf("%d resyncs, want 1", n)
	}
	other := newHost(t, s)
	if err := other.set.Backup(other.set.NameOf("user.anne")).BringUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := other.counts(); (got != partitions.Counts{}) {
		t.Errorf("a host that reads commits counts %+v", got)
	}
}

// The status has the ages of all backups, in classes.
func TestStatusAges(t *testing.T) {
	h, clock, _ := contactHost(t)
	for _, user := range []string{"anne", "bob"} {
		inbox := newSource("user." + user)
		inbox.deliver(mail(1, 500))
		h.sync(user, inbox)
		clock.pass(10 * time.Hour)
	}
	s, err := h.set.Status()
	if err != nil {
		t.Fatal(err)
	}
	p := &s.Partitions[0]
	if len(p.ChangeAges.Counts) != len(partitions.AgeBounds())+1 {
		t.Fatal("a bound without a class")
	}
	// The mail server was in contact ten hours ago, for both.
	if p.ContactAges.Counts[4] != 2 || p.ContactAges.Total() != 2 || p.ContactAges.Sum != 20*time.Hour {
		t.Errorf("contact %+v", p.ContactAges)
	}
	if p.ChangeAges.Counts[4] != 1 || p.ChangeAges.Counts[5] != 1 || p.ChangeAges.Sum.Round(time.Minute) != 30*time.Hour || p.ChangeAges.Unknown != 0 {
		t.Errorf("changes %+v", p.ChangeAges)
	}
	clock.pass(365 * 24 * time.Hour)
	if s, err = h.set.Status(); err != nil {
		t.Fatal(err)
	}
	if n := s.Partitions[0].ChangeAges.Counts[len(partitions.AgeBounds())]; n != 2 {
		t.Errorf("%d backups are older than the last bound, want 2", n)
	}
}

// Refused commands are counted by their kind.
func TestRefusals(t *testing.T) {
	h, _, _ := contactHost(t)
	if n := len(h.set.Refusals()); n != 0 {
		t.Errorf("%d kinds of refusals before the first", n)
	}
	h.set.Refused("repl [192.0.2.7]", nil, errors.New("a fault of this program"))
	if n := h.set.Refusals()["internal"]; n != 1 {
		t.Errorf("%v", h.set.Refusals())
	}
}
