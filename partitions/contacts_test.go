package partitions_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// hostClock is a clock that goroutines of the host may read.
type hostClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *hostClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *hostClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// contactHost is a host with a clock, and its store.
func contactHost(t *testing.T) (*host, *hostClock, objstore.Store) {
	clock := &hostClock{at: time.Now().Round(0)}
	s := newStore()
	h := newHostWith(t, func(o *partitions.Options) {
		o.OutageWait, o.PatientWait = 2*time.Second, 2*time.Second
		o.Now = clock.now
	}, s)
	return h, clock, s
}

// as is a client of another mail server.
func (h *host) as(identity string) *client {
	return &client{h.t, session.New(h.set, session.Who{Connection: "c2", Client: identity})}
}

// known returns what the index knows about a backup.
func (h *host) known(path string) partitions.Known {
	h.t.Helper()
	if err := h.set.FlushContacts(); err != nil {
		h.t.Fatal(err)
	}
	for some, err := range h.set.Known("p0") {
		if err != nil {
			h.t.Fatal(err)
		}
		for _, k := range some {
			if k.Path == path {
				return k
			}
		}
	}
	h.t.Fatalf("the index does not know %s", path)
	return partitions.Known{}
}

// A user on holiday is in contact as long as the mail server is, and only then.
func TestContactOfServer(t *testing.T) {
	h, clock, _ := contactHost(t)
	for _, user := range []string{"anne", "bob"} {
		inbox := newSource("user." + user)
		inbox.deliver(mail(1, 500))
		h.sync(user, inbox)
	}
	other := h.as("repl [192.0.2.7]")
	carol := newSource("user.carol")
	other.mustSync("carol", carol)
	other.s.Close()
	clock.pass(72 * time.Hour)
	h.sync("bob", newSource("user.bob"))
	for path, want := range map[string]time.Time{"user/anne": clock.now(), "user/bob": clock.now(), "user/carol": clock.now().Add(-72 * time.Hour)} {
		if k := h.known(path); !k.Contact.Equal(want) || k.Client == "" || k.Refused != nil {
			t.Errorf("%s: contact %v with %q, refused %v; want %v", path, k.Contact, k.Client, k.Refused, want)
		}
	}
	h.stop()
	h.start()
	if k := h.known("user/anne"); !k.Contact.Equal(clock.now()) {
		t.Errorf("after a restart: contact %v, want %v", k.Contact, clock.now())
	}
}

// A refused user is not in contact, although the server is. The first success ends that.
func TestContactOfRefused(t *testing.T) {
	h, clock, _ := contactHost(t)
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	h.sync("anne", inbox)
	before := clock.now()
	holder, c := h.client(), h.as("repl [127.0.0.1]")
	for range 2 {
		clock.pass(time.Hour)
		holder.mustSync("anne", inbox)
		if _, _, err := c.getUser("anne"); !errors.Is(err, cyrus.ErrLocked) {
			t.Fatalf("beside another connection: %v, want ErrLocked", err)
		}
		c.s.Restart(t.Context())
		k := h.known("user/anne")
		if k.Refused == nil || !k.Refused.Since.Equal(before.Add(time.Hour)) || !k.Refused.At.Equal(clock.now()) || k.Refused.Kind != "busy" {
			t.Fatalf("refused: %+v", k.Refused)
		}
		if !k.Contact.Equal(before) {
			t.Errorf("contact %v while refused, want %v", k.Contact, before)
		}
	}
	holder.s.Close()
	clock.pass(time.Minute)
	c.mustSync("anne", inbox)
	c.s.Close()
	if k := h.known("user/anne"); k.Refused != nil || !k.Contact.Equal(clock.now()) {
		t.Errorf("after a success: contact %v, refused %+v", k.Contact, k.Refused)
	}
}

// Refusals are counted for each mail server until it succeeds, also by the next process.
func TestRefusalsOfServer(t *testing.T) {
	h, _, _ := contactHost(t)
	const client = "repl [192.0.2.9]"
	want := func(n int64) {
		t.Helper()
		s, err := h.set.Status()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(s.Servers, func(s partitions.ServerStatus) bool { return s.Client == client })
		if i < 0 || s.Servers[i].Refusals != n {
			t.Errorf("%+v, want %d refusals", s.Servers, n)
		}
	}
	refuse := func(of string) { h.set.Refused(of, nil, cyrus.ErrLocked) }
	refuse(client)
	refuse(client)
	refuse("repl [192.0.2.10]")
	want(2)
	refuse(client)
	h.set.Contact(client)
	h.stop()
	h.start()
	want(3)
	c := h.as(client)
	c.mustSync("carol", newSource("user.carol"))
	c.s.Close()
	want(0)
	refuse(client)
	want(1)
}

// A client that disagrees about the state was not refused: it goes on by itself.
func TestContactNotRefused(t *testing.T) {
	h, _, _ := contactHost(t)
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	h.sync("anne", inbox)
	c := h.client()
	if err := c.s.ApplyMailbox(t.Context(), inbox.head(), cyrus.Since{Set: true, ModSeq: 99}, seq(nil)); !errors.Is(err, cyrus.ErrSyncChanged) {
		t.Fatal(err)
	}
	c.s.Close()
	if k := h.known("user/anne"); k.Refused != nil {
		t.Errorf("refused: %+v", k.Refused)
	}
}

// contactsIn returns the contacts in a store.
func contactsIn(t *testing.T, s objstore.Store) (out []*repository.Contact) {
	t.Helper()
	for c, err := range repository.Contacts(t.Context(), s) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// The bucket gets the contact at the end of a process, and then at most once an hour.
func TestContactInBucket(t *testing.T) {
	h, clock, s := contactHost(t)
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	h.sync("anne", inbox)
	first := clock.now()
	h.stop()
	got := contactsIn(t, s)
	if len(got) != 1 || got[0].Client != "repl [127.0.0.1]" || got[0].Host != "host" || !got[0].Last.Equal(first) || !got[0].Written.Equal(first) || len(got[0].Unreached) != 0 {
		t.Fatalf("contacts %+v", got)
	}
	for _, step := range []struct {
		pass time.Duration
		put  bool
	}{{50 * time.Minute, false}, {20 * time.Minute, true}} {
		clock.pass(step.pass)
		h.start()
		h.sync("anne", inbox)
		h.stop()
		if got := contactsIn(t, s); got[0].Last.Equal(clock.now()) != step.put || len(got) != 1 {
			t.Errorf("%v later: %+v, at %v", step.pass, got[0], clock.now())
		}
	}
	clock.pass(3 * time.Hour)
	h.start()
	h.stop()
	if got := contactsIn(t, s); got[0].Last.Equal(clock.now()) {
		t.Error("a contact without a client")
	}
}

// Other hosts can read which backups a server does not reach.
func TestContactListsRefused(t *testing.T) {
	h, clock, s := contactHost(t)
	for _, user := range []string{"anne", "bob"} {
		inbox := newSource("user." + user)
		inbox.deliver(mail(1, 500))
		h.sync(user, inbox)
	}
	holder := h.client()
	holder.mustSync("anne", newSource("user.anne"))
	c := h.as("repl [127.0.0.1]")
	if _, _, err := c.getUser("anne"); err == nil {
		t.Fatal("not refused")
	}
	c.s.Close()
	clock.pass(time.Hour)
	h.stop()
	got := contactsIn(t, s)
	if len(got) != 1 || len(got[0].Unreached) != 1 || got[0].Unreached[0].Backup != "user/anne" || got[0].Refused == nil {
		t.Fatalf("contacts %+v", got)
	}
	if got[0].Reaches("user/anne") || !got[0].Reaches("user/bob") {
		t.Error("Reaches does not follow Unreached")
	}
	if got[0].More = 1; got[0].Reaches("user/bob") {
		t.Error("a list that is not complete shows that a backup is reached")
	}
}

// A contact that cannot be put is no trouble of the partition: clients continue.
func TestContactCannotBePut(t *testing.T) {
	clock := &hostClock{at: time.Now().Round(0)}
	s := faultstore.New(newStore())
	s.Add(faultstore.Fault{
		Match:  func(op, key string) bool { return op == "put" && strings.HasPrefix(key, repository.ContactsPrefix) },
		Before: func(op, key string) error { return &objstore.Error{Op: op, Key: key, Err: objstore.ErrDenied} },
	})
	h := newHostWith(t, func(o *partitions.Options) { o.Now = clock.now }, s)
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	h.sync("anne", inbox)
	h.stop()
	h.start()
	inbox.deliver(mail(2, 500))
	h.sync("anne", inbox)
	if got := h.set.Troubles(); len(got) != 0 || s.Struck() == 0 {
		t.Errorf("troubles: %+v", got)
	}
	if got := contactsIn(t, s); len(got) != 0 {
		t.Errorf("contacts %+v", got)
	}
}

// A mail server that is forgotten is unknown until it comes back. Its refusals end, those of others do not,
// and its backups keep the time of their last contact.
func TestForgetServer(t *testing.T) {
	clock := &hostClock{at: time.Now().Round(0)}
	s := faultstore.New(newStore())
	h := newHostWith(t, func(o *partitions.Options) {
		shortWait(o)
		o.Now = clock.now
	}, s)
	h.sync("anne", newSource("user.anne"))
	at := clock.now()
	s.Add(faultstore.Fault{
		Match:  func(_, key string) bool { return strings.HasPrefix(key, "backups/user/b") },
		Before: faultstore.Denied,
	})
	for client, user := range map[string]string{"repl [127.0.0.1]": "bob", "repl [192.0.2.7]": "bill"} {
		c := h.as(client)
		if _, _, err := c.getUser(user); err == nil {
			t.Fatal("not refused")
		}
		c.s.Close()
	}
	h.wantLacks("before", map[string]int{"refused user/bob": 0, "refused user/bill": 0})
	clock.pass(48 * time.Hour)
	if err := h.set.ForgetServer(t.Context(), "repl [127.0.0.1]"); err != nil {
		t.Fatal(err)
	}
	h.wantLacks("after", map[string]int{"refused user/bill": 0})
	if st, err := h.set.Status(); err != nil || len(st.Servers) != 1 || st.Servers[0].Client != "repl [192.0.2.7]" || st.Unknown != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	if k := h.known("user/anne"); !k.Contact.Equal(at) {
		t.Errorf("contact %v, want %v", k.Contact, at)
	}
	h.sync("anne", newSource("user.anne"))
	if st, err := h.set.Status(); err != nil || len(st.Servers) != 2 || st.Unknown != 0 {
		t.Errorf("%+v, %v", st, err)
	}
}
