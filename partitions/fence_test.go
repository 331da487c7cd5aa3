package partitions_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// limited returns a client that may touch the backups of some users only.
func (h *host) limited(users ...string) *client { return h.limitedAs("eve", users...) }

func (h *host) limitedAs(login string, users ...string) *client {
	scope := func(n repository.Name) bool {
		for _, u := range users {
			if n == repository.UserName(u) {
				return true
			}
		}
		return false
	}
	useless := map[string]bool{}
	c := &client{h.t, session.New(h.set, session.Who{Connection: "c3", Client: "eve [127.0.0.1]", Login: login, Scope: &session.Scope{
		May: scope, All: func() bool { return false }, Refused: func(repository.Name) {},
		Useless: func(_ repository.Name, mailbox string) { useless[mailbox] = true }, WasUseless: func(_ repository.Name, mailbox string) bool { return useless[mailbox] },
	}})}
	h.t.Cleanup(func() { c.s.Close() })
	return c
}

// names adds a record of another user's message to a mailbox. The mail server does not have its bytes.
func (m *source) names(r *cyrus.Record, flags ...string) *cyrus.Record {
	is := *r
	m.lastUID++
	m.modseq++
	is.UID, is.ModSeq, is.Flags = m.lastUID, m.modseq, flags
	m.records = append(m.records, &is)
	return &is
}

// fenced is a host with the mail of Anne in packs, and Eve, who may touch her own backup only.
func fenced(t *testing.T, stores ...*memstore.Store) (h *host, anne, eve *source, c *client) {
	return fencedWith(t, func(*partitions.Options) {}, stores...)
}

func fencedWith(t *testing.T, options func(*partitions.Options), stores ...*memstore.Store) (h *host, anne, eve *source, c *client) {
	if len(stores) == 0 {
		stores = append(stores, newStore())
	}
	h = newHostWith(t, func(o *partitions.Options) { o.InlineLimit = 8 << 10; options(o) }, stores[0])
	anne, eve = newSource("user.anne"), newSource("user.eve")
	for i := range 4 {
		anne.deliver(mail(i, 5000))
	}
	eve.deliver(mail(9, 500))
	h.sync("anne", anne)
	c = h.limited("eve", "adam")
	c.mustSync("eve", eve)
	return h, anne, eve, c
}

// A login with a scope gets no message of another backup by its GUID: not by a record, nor by an
// expunged one, nor by a file that it pretends not to be able to read, nor by a move afterwards.
func TestForeignMessageByItsGUID(t *testing.T) {
	claims := map[string]func(t *testing.T, c *client, eve *source, theirs *cyrus.Record){
		"record": func(t *testing.T, c *client, eve *source, theirs *cyrus.Record) {
			eve.names(theirs)
			if err := c.s.ApplyMailbox(t.Context(), eve.head(), cyrus.Since{}, seq(eve.records)); !errors.Is(err, cyrus.ErrLocked) {
				t.Errorf("a record without a message: %v, want ErrLocked", err)
			}
			eve.records = eve.records[:1]
		},
		"expunged record": func(t *testing.T, c *client, eve *source, theirs *cyrus.Record) {
			eve.names(theirs, `\Expunged`)
			c.mustApply(eve)
		},
		"unreadable file": func(t *testing.T, c *client, eve *source, theirs *cyrus.Record) {
			eve.names(theirs)
			if err := c.s.MessageUnreadable(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.mustApply(eve)
		},
	}
	for name, claim := range claims {
		t.Run(name, func(t *testing.T) {
			h, anne, eve, c := fenced(t)
			theirs := anne.records[1]
			eve.bodies[theirs.GUID] = anne.bodies[theirs.GUID] // for fetch
			if _, _, err := c.getUser("eve"); err != nil {
				t.Fatal(err)
			}
			missing, err := c.s.Reserve(t.Context(), "default", []string{eve.name}, []cyrus.GUID{theirs.GUID})
			if err != nil || len(missing) != 1 {
				t.Fatalf("RESERVE: missing %v, %v", missing, err)
			}
			claim(t, c, eve, theirs)
			c.wantNone(eve, theirs)
			c.s.Restart(t.Context())
			rename := cyrus.Rename{Old: eve.name, New: "user.adam.given", Partition: "default"}
			if err := c.s.ApplyRename(t.Context(), rename); err != nil {
				t.Fatal(err)
			}
			moved := eve.clone()
			moved.name = rename.New
			c.wantNone(moved, theirs)
			if err := c.fetch(moved, eve.records[0]); err != nil {
				t.Errorf("her own message after the move: %v", err)
			}
			h.expectSame("anne", anne)
		})
	}
}

func (c *client) mustApply(m *source) {
	c.t.Helper()
	if err := c.s.ApplyMailbox(c.t.Context(), m.head(), cyrus.Since{}, seq(m.records)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) wantNone(box *source, r *cyrus.Record) {
	c.t.Helper()
	if err := c.fetch(box, r); !errors.Is(err, cyrus.ErrNonexistent) {
		c.t.Errorf("FETCH through %s: %v, want nothing", box.name, err)
	}
}

// Nor does it get a message that only another partition has.
func TestForeignMessageOfOtherPartition(t *testing.T) {
	stores := []*memstore.Store{newStore(), newStore()}
	h := newHostWith(t, func(o *partitions.Options) { o.InlineLimit = 8 << 10 }, stores[0], stores[1])
	users := usersOf(t, h, stores)
	theirs, own := newSource("user."+users[0]), newSource("user."+users[1])
	for i := range 4 {
		theirs.deliver(mail(i, 5000))
	}
	h.sync(users[0], theirs)
	c := h.limited(users[1])
	c.mustSync(users[1], own)
	r := own.names(theirs.records[1])
	own.bodies[r.GUID] = theirs.bodies[r.GUID]
	if err := c.s.ApplyMailbox(t.Context(), own.head(), cyrus.Since{}, seq(own.records)); !errors.Is(err, cyrus.ErrLocked) {
		t.Errorf("a record without a message: %v, want ErrLocked", err)
	}
	c.wantNone(own, r)
	c.s.Restart(t.Context())
	h.sync(users[1], own) // who has the bytes may send them
	c.s.Restart(t.Context())
	if err := c.fetch(own, r); err != nil {
		t.Error(err)
	}
}

// No command reads or changes a backup outside the scope, and none leaves a trace there.
func TestOutsideTheScope(t *testing.T) {
	s := newStore()
	h, anne, eve, c := fenced(t, s)
	before := objects(t, s, "")
	for _, a := range append(otherAttempts(anne), attempts...) {
		if err := a.run(t.Context(), c.s, "anne"); !errors.Is(err, cyrus.ErrOutside) {
			t.Errorf("%s: %v, want ErrOutside", a.name, err)
		}
	}
	if err := c.s.GetUniqueIDs(t.Context(), []string{anne.uniqueid}, func(key string, _ dlist.Value) error {
		t.Errorf("GET UNIQUEIDS answers %s", key)
		return nil
	}); err != nil {
		t.Error(err)
	}
	if after := objects(t, s, ""); !slices.Equal(after, before) {
		t.Errorf("objects %v, were %v", after, before)
	}
	if got := h.set.Troubles(); len(got) != 0 {
		t.Errorf("troubles %+v", got)
	}
	if owes, err := h.set.Owes(repository.UserName("anne")); owes || err != nil {
		t.Errorf("her client has to compare the user: %v, %v", owes, err)
	}
	// Her uniqueid in a mailbox of Eve's does not end her mailbox.
	eve.uniqueid = anne.uniqueid
	c.mustSync("eve", eve)
	h.expectSame("anne", anne)
}

// otherAttempts are the commands that attempts lacks.
func otherAttempts(box *source) []attempt {
	annotation := cyrus.MailboxAnnotation{Mailbox: box.name, Entry: "/comment"}
	return []attempt{
		{"GET QUOTA", func(ctx context.Context, s *session.Session, _ string) error {
			return s.GetQuota(ctx, box.name, nowhere)
		}},
		{"GET ANNOTATION", func(ctx context.Context, s *session.Session, _ string) error {
			return s.GetAnnotation(ctx, box.name, nowhere)
		}},
		{"GET ANNOTATION of the server", func(ctx context.Context, s *session.Session, _ string) error {
			return s.GetAnnotation(ctx, "", nowhere)
		}},
		{"GET FETCH", func(ctx context.Context, s *session.Session, _ string) error {
			_, _, err := s.GetFetch(ctx, cyrus.Fetch{Name: box.name, UniqueID: box.uniqueid, UID: 1, GUID: box.records[0].GUID})
			return err
		}},
		{"GET FETCH_SIEVE", func(ctx context.Context, s *session.Session, u string) error {
			return s.GetFetchSieve(ctx, u, "default.script", nowhere)
		}},
		{"EXPUNGE", func(ctx context.Context, s *session.Session, _ string) error {
			return s.ApplyExpunge(ctx, box.name, box.uniqueid, []uint32{1})
		}},
		{"RENAME out of it", func(ctx context.Context, s *session.Session, _ string) error {
			return s.ApplyRename(ctx, cyrus.Rename{Old: box.name, New: "user.eve.x", Partition: "default"})
		}},
		{"SIEVE", func(ctx context.Context, s *session.Session, u string) error {
			return s.ApplySieve(ctx, cyrus.Sieve{UserID: u, Filename: "x", Content: "keep;"})
		}},
		{"UNSIEVE", func(ctx context.Context, s *session.Session, u string) error { return s.ApplyUnsieve(ctx, u, "x") }},
		{"ACTIVATE_SIEVE", func(ctx context.Context, s *session.Session, u string) error {
			return s.ApplyActivateSieve(ctx, u, "x")
		}},
		{"UNACTIVATE_SIEVE", func(ctx context.Context, s *session.Session, u string) error { return s.ApplyUnactivateSieve(ctx, u) }},
		{"UNQUOTA", func(ctx context.Context, s *session.Session, _ string) error { return s.ApplyUnquota(ctx, box.name) }},
		{"UNANNOTATION", func(ctx context.Context, s *session.Session, _ string) error {
			return s.ApplyUnannotation(ctx, annotation.Mailbox, annotation.Entry, annotation.UserID)
		}},
	}
}

// A scope costs an upload of what the backup lacks, and no space: what another backup has is stored
// once, whether the message is small, fills a pack, or is cut into pieces. A move uploads nothing.
func TestScopeStoresOnce(t *testing.T) {
	s := newStore()
	h := newHostWith(t, func(o *partitions.Options) { o.InlineLimit, o.ChunkThreshold = 8<<10, 300<<10 }, s)
	anne, eve := newSource("user.anne"), newSource("user.eve")
	for i, size := range []int{700, 5000, 5000, 100 << 10, 1 << 20} {
		body := mail(i, size)
		anne.deliver(body)
		eve.deliver(body)
	}
	h.sync("anne", anne)
	packs := objects(t, s, "packs/")
	c := h.limited("eve", "adam")
	if n := c.mustSync("eve", eve); n != len(eve.records)+1 {
		t.Errorf("%d commands, want an upload of each message", n)
	}
	if now := objects(t, s, "packs/"); !slices.Equal(now, packs) {
		t.Errorf("packs %v, were %v", now, packs)
	}
	c.s.Restart(t.Context())
	h.expectSame("eve", eve)
	copied := newSource("user.eve.Copy") // of messages that the backup has
	for _, r := range eve.records {
		copied.deliver(eve.bodies[r.GUID])
	}
	if n := c.mustSync("eve", eve, copied); n != 1 {
		t.Errorf("%d commands for a copy, want none but MAILBOX", n)
	}
	c.s.Restart(t.Context())
	if err := c.s.ApplyRename(t.Context(), cyrus.Rename{Old: copied.name, New: "user.adam.Copy", Partition: "default"}); err != nil {
		t.Fatal(err)
	}
	copied.name = "user.adam.Copy"
	c.s.Restart(t.Context())
	h.expectSame("adam", copied)
	if now := objects(t, s, "packs/"); !slices.Equal(now, packs) {
		t.Errorf("packs after a move: %v, were %v", now, packs)
	}
}

// What a login has sent counts after the connection has ended, but not for another login.
func TestScopeRemembersWhatWasSent(t *testing.T) {
	h, anne, eve, c := fenced(t)
	send := func(c *client, r *cyrus.Record) {
		t.Helper()
		body := anne.bodies[r.GUID]
		if err := c.s.Message(t.Context(), "default", r.GUID, int64(len(body)), bytes.NewReader(body)); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range anne.records {
		send(c, r)
	}
	if _, err := c.s.Reserve(t.Context(), "default", []string{eve.name}, nil); err != nil {
		t.Fatal(err)
	}
	c.s.Restart(t.Context())
	c.s.Close()
	asked := func(c *client) int {
		t.Helper()
		missing, err := c.s.Reserve(t.Context(), "default", []string{eve.name}, anne.guids())
		if err != nil {
			t.Fatal(err)
		}
		c.s.Close()
		return len(missing)
	}
	if n := asked(h.limited("eve")); n != 0 {
		t.Errorf("%d messages are asked for again", n)
	}
	if n := asked(h.limitedAs("mallory", "eve")); n != len(anne.records) {
		t.Errorf("another login is asked for %d messages, want all", n)
	}
}

func (m *source) guids() (list []cyrus.GUID) {
	for _, r := range m.records {
		list = append(list, r.GUID)
	}
	return list
}

// Two backups in use: what one of them has is not asked for.
func TestScopeReservesForSeveralUsers(t *testing.T) {
	h := newHostWith(t, func(o *partitions.Options) { o.InlineLimit = 1 }, newStore())
	adam, eve := newSource("user.adam"), newSource("user.eve")
	for i := range 4 {
		eve.deliver(mail(i, 900))
	}
	adam.deliver(eve.bodies[eve.records[0].GUID])
	c := h.limited("adam", "eve")
	c.mustSync("eve", eve)
	c.mustSync("adam", adam)
	c.s.Restart(t.Context())
	if _, err := c.getMailboxes(adam, eve); err != nil {
		t.Fatal(err)
	}
	other := h.limitedAs("other", "adam", "eve") // who has sent nothing
	c.s.Close()
	if _, err := other.getMailboxes(adam, eve); err != nil {
		t.Fatal(err)
	}
	missing, err := other.s.Reserve(t.Context(), "default", []string{adam.name, eve.name}, eve.guids())
	if err != nil || len(missing) != 0 {
		t.Errorf("missing %v, %v; want none: each has them, or the other", missing, err)
	}
	adam.names(eve.records[1])
	adam.bodies[eve.records[1].GUID] = eve.bodies[eve.records[1].GUID]
	other.mustApply(adam)
	other.s.Restart(t.Context())
	h.expectSame("adam", adam)
	// A backup counts only while it is in use.
	if missing, err = other.s.Reserve(t.Context(), "default", []string{adam.name}, eve.guids()); err != nil || !slices.Equal(missing, eve.guids()[2:]) {
		t.Errorf("missing %v, %v; want what adam lacks", missing, err)
	}
}

// The client of 3.12 adds former names to GET MAILBOXES. A name outside the scope hides nothing.
func TestFormerNameOutsideTheScope(t *testing.T) {
	_, anne, eve, c := fenced(t)
	there, err := c.getMailboxes(anne, eve)
	if err != nil || len(there) != 1 || there[eve.uniqueid].Pairs == nil {
		t.Errorf("reported %v, %v; want hers only", there, err)
	}
}

// A client sends a message once for all mailboxes of a unit of work.
func TestScopeOfSeveralUsers(t *testing.T) {
	h := newHostWith(t, func(o *partitions.Options) { o.InlineLimit = 1 }, newStore())
	adam, eve := newSource("user.adam"), newSource("user.eve")
	c := h.limited("adam", "eve")
	c.mustSync("adam", adam)
	c.mustSync("eve", eve)
	for i := range 40 {
		body := mail(i, 900)
		adam.deliver(body)
		eve.deliver(body)
	}
	c.s.Restart(t.Context())
	there, err := c.getMailboxes(adam, eve)
	if err != nil {
		t.Fatal(err)
	}
	n, err := c.updateAll(there, adam, eve)
	if err != nil || n != 40+2 {
		t.Fatalf("%d commands, want 42: %v", n, err)
	}
	c.s.Restart(t.Context())
	h.expectSame("adam", adam)
	h.expectSame("eve", eve)
}

// A folder that is moved out of the scope ends where it was, and changes nothing there. The client of 3.12
// sends such a rename first, and nothing more of the user if it is refused.
func TestRenameOutOfTheScope(t *testing.T) {
	s := newStore()
	var log bytes.Buffer
	h, anne, eve, c := fencedWith(t, func(o *partitions.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) }, s)
	folder := newSource("user.eve.folder")
	folder.deliver(mail(20, 500))
	c.mustSync("eve", folder)
	before := objects(t, s, "backups/user/anne")
	rename := cyrus.Rename{Old: folder.name, New: "user.anne.folder", Partition: "default", UIDValidity: 1700000000}
	if err := c.s.ApplyRename(t.Context(), rename); err != nil {
		t.Fatalf("the rename is refused: %v", err)
	}
	if there, err := c.getMailboxes(folder); err != nil || len(there) != 0 {
		t.Errorf("the folder is still reported: %v, %v", there, err)
	}
	if err := c.s.ApplyRename(t.Context(), rename); !errors.Is(err, cyrus.ErrNonexistent) {
		t.Errorf("the rename again: %v, want ErrNonexistent", err)
	}
	if n := strings.Count(log.String(), "moved out of the scope"); n != 1 {
		t.Errorf("logged %d times, want once\n%s", n, &log)
	}
	if after := objects(t, s, "backups/user/anne"); !slices.Equal(after, before) {
		t.Errorf("objects %v, were %v", after, before)
	}
	eve.deliver(mail(21, 500))
	c.mustSync("eve", eve)
	c.s.Restart(t.Context())
	h.expectSame("eve", eve)
	h.expectSame("anne", anne)
}
