package partitions_test

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
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

// A user who was refused at the very first sync is known at once, here and on other hosts, although no
// partition has a backup, and until the first success.
func TestStatusRefusedAtFirst(t *testing.T) {
	clock := &hostClock{at: time.Now().Round(0)}
	inner := newStore()
	s := faultstore.New(inner)
	h := newHostWith(t, func(o *partitions.Options) {
		shortWait(o)
		o.Now = clock.now
	}, s)
	h.sync("bob", newSource("user.bob"))
	s.Add(faultstore.Fault{
		Match:  func(_, key string) bool { return strings.HasPrefix(key, "backups/user/anne/") },
		Before: faultstore.Denied,
	})
	for range 2 {
		clock.pass(time.Minute)
		c := h.client()
		if _, _, err := c.getUser("anne"); err == nil {
			t.Fatal("not refused")
		}
		c.s.Close()
		h.wantLacks("refused at the first sync", map[string]int{"refused user/anne": 0})
	}
	st, err := h.set.Status()
	if err != nil || len(st.Behind) != 1 {
		t.Fatalf("behind: %+v, %v", st, err)
	}
	if b := st.Behind[0]; b.Partition != "p0" || b.Name != "anne" || b.Client != "repl [127.0.0.1]" || !b.Since.Equal(clock.now().Add(-time.Minute)) || b.Kind == "" || b.Action == "" {
		t.Errorf("behind: %+v", b)
	}
	clock.pass(time.Hour)
	h.stop()
	if got := contactsIn(t, inner); len(got) != 1 || len(got[0].Unreached) != 1 || got[0].Unreached[0].Backup != "user/anne" {
		t.Errorf("contacts %+v", got)
	}
	s.Clear()
	h.start()
	h.wantLacks("after a restart", map[string]int{"refused user/anne": 0})
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	h.sync("anne", inbox)
	h.wantLacks("after a success", nil)
}

// A backup that cannot be read does not stop the count of the others, and is counted.
func TestCensusBesideUnreadable(t *testing.T) {
	clock := &hostClock{at: time.Now().Round(0)}
	s := faultstore.New(newStore())
	h := newHostWith(t, func(o *partitions.Options) { o.Now = clock.now }, s)
	for _, user := range []string{"anne", "bob", "carol", "dora", "emil"} {
		inbox := newSource("user." + user)
		inbox.deliver(mail(1, 500))
		h.sync(user, inbox)
	}
	for user, b := range map[string][]byte{"anne": []byte("{"), "bob": []byte(`{"version":9}`)} {
		if _, err := s.Put(t.Context(), repository.BackupInfoKey("user/"+user), bytes.NewReader(b), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(t.Context(), repository.BackupInfoKey("user/carol")); err != nil {
		t.Fatal(err)
	}
	s.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "get" && key == repository.BackupInfoKey("user/dora") }, Before: faultstore.Denied})
	clock.pass(time.Minute)
	h.count()
	unreadable := map[string]bool{}
	for some, err := range h.set.Known("p0") {
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range some {
			unreadable[k.Kind+" "+k.Name] = k.Unreadable
		}
	}
	if want := map[string]bool{"user anne": true, "user bob": true, "user carol": true, "user dora": true, "user emil": false}; !maps.Equal(unreadable, want) {
		t.Errorf("unreadable: %v, want %v", unreadable, want)
	}
}

// count counts the backups in the buckets.
func (h *host) count() {
	h.t.Helper()
	now := h.set.Options().Now()
	for range 1000 {
		h.set.BeginCensus()
		if at, err := h.set.Counted(); err == nil && !at.Before(now) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	h.t.Fatal("the backups were not counted")
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
