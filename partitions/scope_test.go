package partitions_test

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// changing returns a client whose scope is a variable: *out are the users outside.
func (h *host) changing(out *[]string) *client {
	may := func(n repository.Name) bool { return !slices.Contains(*out, n.Full) }
	c := &client{h.t, session.New(h.set, session.Who{Connection: "c4", Client: "eve [127.0.0.1]", Login: "eve", Scope: &session.Scope{
		May: may, All: func() bool { return len(*out) == 0 }, Refused: func(repository.Name) {},
		Useless: func(repository.Name, string) {}, WasUseless: func(repository.Name, string) bool { return false },
	}})}
	h.t.Cleanup(func() { c.s.Close() })
	return c
}

// A session that could touch everything ends when its login is limited: it has no fence. This is so for
// every command, even if it names no backup.
func TestScopeIsLimited(t *testing.T) {
	h, anne, eve, c := fenced(t)
	c.s.Close()
	body := mail(1, 900)
	for name, run := range map[string]func(*session.Session) error{
		"GET MAILBOXES": func(s *session.Session) error { return s.GetMailboxes(t.Context(), []string{eve.name}, nowhere) },
		"GET UNIQUEIDS": func(s *session.Session) error { return s.GetUniqueIDs(t.Context(), []string{anne.uniqueid}, nowhere) },
		"RESERVE": func(s *session.Session) error {
			_, err := s.Reserve(t.Context(), "default", nil, anne.guids())
			return err
		},
		"MESSAGE": func(s *session.Session) error {
			return s.Message(t.Context(), "default", sha1.Sum(body), int64(len(body)), bytes.NewReader(body))
		},
	} {
		var out []string
		c := h.changing(&out)
		if err := c.s.GetUser(t.Context(), "eve", nowhere); err != nil {
			t.Fatal(err)
		}
		out = []string{"anne"}
		if err := run(c.s); !errors.Is(err, cyrus.ErrClose) {
			t.Errorf("%s: %v, want the end of the connection", name, err)
		}
		c.s.Close()
	}
	if got := h.set.Troubles(); len(got) != 0 {
		t.Errorf("troubles %+v", got)
	}
}

// A session does not keep a backup that is outside its scope meanwhile from others, whatever command
// it runs next.
func TestLeaseOutsideTheScope(t *testing.T) {
	h, anne, eve, c := fenced(t)
	c.s.Close()
	out := []string{"bob"}
	c = h.changing(&out)
	if _, err := c.getMailboxes(anne, eve); err != nil {
		t.Fatal(err)
	}
	b := h.set.Backup(repository.UserName("anne"))
	other := h.client()
	if b.Lease().Free(other.s) {
		t.Fatal("the session does not hold the backup")
	}
	out = []string{"anne"}
	if _, err := c.s.Reserve(t.Context(), "default", []string{eve.name}, nil); err != nil {
		t.Fatal(err)
	}
	if !b.Lease().Free(other.s) {
		t.Error("a session whose scope was limited keeps the backup")
	}
	if b := h.set.Backup(repository.UserName("eve")); b.Lease().Free(other.s) {
		t.Error("the session has lost a backup of its scope")
	}
}

// What is refused because of a scope counts for the mail server, and not for the backup.
func TestOutsideCountsForTheServer(t *testing.T) {
	h, _, _, c := fenced(t)
	c.s.Restart(t.Context())
	for range 3 {
		if _, _, err := c.getUser("anne"); !errors.Is(err, cyrus.ErrOutside) {
			t.Fatal(err)
		}
	}
	if k := h.known("user/anne"); k.Refused != nil || k.Client != "repl [127.0.0.1]" && k.Client != "" {
		t.Errorf("the backup outside: refused %+v, client %q", k.Refused, k.Client)
	}
	s, err := h.set.Status()
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Behind) != 0 {
		t.Errorf("backups that lack something: %+v", s.Behind)
	}
	for _, of := range s.Servers {
		if of.Client != "eve [127.0.0.1]" {
			continue
		}
		if r := of.Refused; of.Refusals != 3 || r == nil || r.Kind != partitions.RefusedOutside || r.Backup != "" || r.Action == "" {
			t.Errorf("the mail server: %d refusals, the last one %+v", of.Refusals, r)
		}
		return
	}
	t.Errorf("servers %+v", s.Servers)
}

// A refusal because of a scope does not hide another one at once.
func TestOutsideHidesNothing(t *testing.T) {
	h, clock, _ := contactHost(t)
	c := h.limited("eve")
	h.set.Refused("eve [127.0.0.1]", nil, cyrus.ErrLocked)
	for i, want := range []string{partitions.RefusedOutside, "internal", "internal", partitions.RefusedOutside} {
		if i == 1 {
			h.set.Refused("eve [127.0.0.1]", nil, errors.New("a fault"))
		}
		if _, _, err := c.getUser("anne"); !errors.Is(err, cyrus.ErrOutside) {
			t.Fatal(err)
		}
		if err := h.set.FlushContacts(); err != nil {
			t.Fatal(err)
		}
		s, err := h.set.Status()
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Servers) != 1 || s.Servers[0].Refused.Kind != want {
			t.Errorf("%+v, want %s", s.Servers, want)
		}
		clock.pass(40 * time.Minute)
	}
}

// FETCH gives a message only through the mailbox that has it.
func TestFetchThroughTheMailbox(t *testing.T) {
	_, _, eve, c := fenced(t)
	folder := newSource("user.eve.Work")
	folder.deliver(mail(20, 500))
	c.mustSync("eve", eve, folder)
	if err := c.fetch(folder, folder.records[0]); err != nil {
		t.Error(err)
	}
	c.wantNone(eve, folder.records[0])
	other := *folder.records[0]
	other.UID = 7
	c.wantNone(folder, &other)
	folder.name = "user.eve.None"
	c.wantNone(folder, folder.records[0])
}

// What a login has sent counts for one to two weeks, and is removed from the index then.
func TestSentIsForgotten(t *testing.T) {
	const week = 7 * 24 * 3600
	clock := &hostClock{at: time.Unix(time.Now().Unix()/week*week, 0)} // a period begins
	h := newHostWith(t, func(o *partitions.Options) { o.InlineLimit, o.Now = 1, clock.now }, newStore())
	anne, eve := newSource("user.anne"), newSource("user.eve")
	body := mail(1, 900)
	anne.deliver(body)
	h.sync("anne", anne)
	c := h.limited("eve")
	c.mustSync("eve", eve)
	guid := cyrus.GUID(sha1.Sum(body))
	if err := c.s.Message(t.Context(), "default", guid, int64(len(body)), bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.s.Reserve(t.Context(), "default", []string{eve.name}, nil); err != nil {
		t.Fatal(err)
	}
	c.s.Close()
	for _, step := range []struct {
		pass time.Duration
		asks int
		keys int // of the index, after it has forgotten
	}{
		{0, 0, 1},
		{8 * 24 * time.Hour, 0, 2}, // in the next period, it is noted again
		{7 * 24 * time.Hour, 0, 2},
		{21 * 24 * time.Hour, 1, 0},
	} {
		clock.pass(step.pass)
		c := h.limited("eve")
		missing, err := c.s.Reserve(t.Context(), "default", []string{eve.name}, []cyrus.GUID{guid})
		if err != nil || len(missing) != step.asks {
			t.Errorf("after %s: missing %v, %v; want %d", step.pass, missing, err, step.asks)
		}
		c.s.Close()
		h.set.ForgetSent()
		if n := h.sentKeys(); n != step.keys {
			t.Errorf("after %s: %d keys, want %d", step.pass, n, step.keys)
		}
	}
}

func (h *host) sentKeys() (n int) {
	h.t.Helper()
	err := h.index.View(func(t *index.Txn) error {
		for _, err := range t.Keys(index.Key("S"), nil, 100) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// A client whose mailbox has only a former name in the scope is not asked for its messages again and
// again. Once the backup with the former name exists, it is answered.
func TestUselessMailbox(t *testing.T) {
	h := newHostWith(t, packing, newStore())
	box, former := newSource("user.berti"), newSource("user.bert")
	box.deliver(mail(1, 900))
	c := h.limited("bert")
	there, err := c.getMailboxes(former, box)
	if err != nil || len(there) != 0 {
		t.Fatal(there, err)
	}
	if _, err := c.updateAll(there, box); !errors.Is(err, cyrus.ErrOutside) {
		t.Fatalf("%v, want ErrOutside", err)
	}
	c.s.Restart(t.Context())
	if _, err := c.getMailboxes(former, box); !errors.Is(err, cyrus.ErrOutside) {
		t.Errorf("%v, want ErrOutside: the client sends the mailbox again", err)
	}
	// Another mailbox of that backup was not sent: it keeps back nobody.
	c.s.Restart(t.Context())
	if there, err := c.getMailboxes(newSource("user.berti.old"), former); err != nil || len(there) != 0 {
		t.Errorf("%v, %v; want nothing, as for a new user", there, err)
	}
	c.s.Restart(t.Context())
	c.mustSync("bert", former)
	c.s.Restart(t.Context())
	if there, err := c.getMailboxes(former, box); err != nil || len(there) != 1 {
		t.Errorf("%v, %v; want the mailbox in the scope", there, err)
	}
}
