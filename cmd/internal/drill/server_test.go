package drill

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/replication/client"
	"github.com/cyrusbackup/backupd/replication/client/fakeserver"
)

// target is a server for drills, which has the mail of other users.
type target struct {
	*Server
	t    *testing.T
	fake *fakeserver.Server
	wrap func(net.Conn) net.Conn // wraps the client's end; may be nil

	mu       sync.Mutex
	breaking func(n int, what string) string // an answer in place of that of the n-th command
	n        int
}

func newTarget(t *testing.T, host string) *target {
	x := &target{t: t, fake: new(fakeserver.Server)}
	x.fake.Refuse = func(verb, key string) string {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.breaking == nil {
			return ""
		}
		x.n++
		return x.breaking(x.n, strings.TrimSpace(verb+" "+key))
	}
	x.Server = x.of(host)
	return x
}

// of returns the server as the drills of another host see it.
func (x *target) of(host string) *Server {
	return NewServer("test.example.org", host, func(ctx context.Context) (*client.Client, error) {
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); _ = x.fake.ServeConn(theirs) }()
		x.t.Cleanup(func() { _ = theirs.Close(); <-done })
		if x.wrap != nil {
			ours = x.wrap(ours)
		}
		return client.New(ctx, ours, client.Options{})
	})
}

// breaks sets the function that answers commands.
func (x *target) breaks(fn func(n int, what string) string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.n, x.breaking = 0, fn
}

// do calls fn with a connection, to change the server.
func (x *target) do(fn func(ctx context.Context, c *client.Client) error) {
	x.t.Helper()
	if err := x.with(x.t.Context(), func(c *client.Client) error { return fn(x.t.Context(), c) }); err != nil {
		x.t.Fatal(err)
	}
}

// has returns what the server has of a user, as text.
func (x *target) has(user string) string {
	var out []string
	x.do(func(ctx context.Context, c *client.Client) error {
		u, err := c.GetUser(ctx, user)
		if err != nil {
			return err
		}
		for _, m := range u.Mailboxes {
			text := m.Name + " " + m.UniqueID
			if _, err := c.GetFullMailbox(ctx, m.Name, func(r *cyrus.Record) error { text += fmt.Sprint(" ", r.UID, r.GUID, r.Flags); return nil }); err != nil {
				return err
			}
			out = append(out, text)
		}
		meta, err := c.GetMeta(ctx, user)
		if err != nil {
			return err
		}
		for _, s := range meta.Sieve {
			out = append(out, fmt.Sprint("script ", s.Filename, " active ", s.Active))
		}
		out = append(out, meta.Subs...)
		quotas, err := c.GetQuotas(ctx, "user."+user)
		for _, q := range quotas {
			out = append(out, "quota "+q.Root)
		}
		return err
	})
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// give creates a mailbox with a message.
func (x *target) give(name, uniqueid string) {
	x.t.Helper()
	body := []byte(restoretest.Mail("of somebody"))
	r := &cyrus.Record{UID: 1, ModSeq: 2, LastUpdated: 1600000000, InternalDate: 1600000000, Size: uint32(len(body)), GUID: sha1.Sum(body), Flags: []string{}}
	x.do(func(ctx context.Context, c *client.Client) error {
		_, err := c.ApplyMessages(ctx, func(yield func(client.Message, error) bool) {
			yield(client.Message{Partition: "default", GUID: r.GUID, Size: int64(len(body)),
				Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }}, nil)
		})
		if err != nil {
			return err
		}
		return c.ApplyMailbox(ctx, head(name, uniqueid, 1), cyrus.Since{}, records(r))
	})
}

func head(name, uniqueid string, last uint64) []dlist.Pair {
	out := []dlist.Pair{dlist.P("UNIQUEID", dlist.S(uniqueid)), dlist.P("MBOXNAME", dlist.S(name)), dlist.P("PARTITION", dlist.S("default")),
		dlist.P("ACL", dlist.S("")), dlist.P("OPTIONS", dlist.S("P")), dlist.P("HIGHESTMODSEQ", dlist.N(9)), dlist.P("UIDVALIDITY", dlist.N(1700000000)), dlist.P("LAST_UID", dlist.N(last))}
	for _, key := range []string{"SYNC_CRC", "SYNC_CRC_ANNOT", "RECENTUID", "RECENTTIME", "LAST_APPENDDATE", "POP3_LAST_LOGIN"} {
		out = append(out, dlist.P(key, dlist.N(0)))
	}
	return out
}

func records(list ...*cyrus.Record) iter.Seq2[*cyrus.Record, error] {
	return func(yield func(*cyrus.Record, error) bool) {
		for _, r := range list {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// into returns the options of a drill into the server.
func (p *problems) into(s *Server) Options {
	o := p.options("")
	o.Server = s
	return o
}

// account adds what belongs to no mailbox.
func account(t *testing.T, b *restoretest.Backup) {
	t.Helper()
	ctx, ses := t.Context(), b.Session()
	for _, err := range []error{
		ses.ApplySub(ctx, "anne", "user.anne.a/b", true), ses.ApplySub(ctx, "anne", "club", true), ses.ApplySub(ctx, "dave", "user.dave", true),
		ses.ApplySieve(ctx, cyrus.Sieve{UserID: "anne", Filename: "main.script", LastUpdate: 1, Content: "keep;"}),
		ses.ApplyActivateSieve(ctx, "anne", "main.bc"),
		ses.ApplyQuota(ctx, cyrus.Quota{Root: "user.anne", Fields: []dlist.Pair{dlist.P("ROOT", dlist.S("user.anne")), dlist.P("LIMIT", dlist.N(5))}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The server has the real mail of the drilled user, too. A drill leaves it alone, and leaves nothing.
func TestDrillIntoServer(t *testing.T) {
	b, p, x := world(t), new(problems), newTarget(t, "b1")
	account(t, b)
	x.give("user.anne", b.Boxes[0].UniqueID)
	x.give("user.anne.a/b", b.Boxes[2].UniqueID)
	before := x.has("anne")
	out, err := Run(t.Context(), b.Found(), p.into(x.Server))
	if err != nil || len(p.list)+len(p.notes) > 0 {
		t.Fatal(err, p)
	}
	if out.Mailboxes != 3 || out.Messages != 4 || out.Bytes < 20000 || out.Problems != 0 || out.Took <= 0 || out.AsOf.IsZero() {
		t.Errorf("%+v", out)
	}
	if got := x.has("anne"); got != before || before == "" {
		t.Errorf("the mail of anne was\n%s\nand is\n%s", before, got)
	}
	if left := x.has(ScratchUser) + x.has("dave"); left != "" {
		t.Errorf("left: %s", left)
	}
}

// changed returns a change of a message in the INBOX of the scratch user.
func changed(uid uint32, fn func(*cyrus.Record)) func(context.Context, *client.Client) error {
	return func(ctx context.Context, c *client.Client) error {
		var r *cyrus.Record
		fields, err := c.GetFullMailbox(ctx, scratchInbox, func(x *cyrus.Record) error {
			if x.UID == uid {
				r = x
			}
			return nil
		})
		if err != nil {
			return err
		}
		fn(r)
		fields = with(with(fields, "SYNC_CRC", dlist.N(0)), "SYNC_CRC_ANNOT", dlist.N(0))
		return c.ApplyMailbox(ctx, with(fields, "LAST_APPENDDATE", dlist.N(0)), cyrus.Since{}, records(r))
	}
}

// Each change to what the server has is found.
func TestEachDifferenceInAServerIsFound(t *testing.T) {
	for name, test := range map[string]struct {
		change func(context.Context, *client.Client) error
		want   string
	}{
		"flag":    {changed(1, func(r *cyrus.Record) { r.Flags = []string{`\Draft`} }), "user.anne uid 1 (message"},
		"date":    {changed(1, func(r *cyrus.Record) { r.InternalDate++ }), "the server has other date"},
		"modseq":  {changed(1, func(r *cyrus.Record) { r.ModSeq++ }), "the server has other modseq"},
		"size":    {changed(2, func(r *cyrus.Record) { r.Size++ }), "the server has other size"},
		"message": {changed(4, func(r *cyrus.Record) { r.Flags = []string{`\Expunged`} }), "user.anne uid 4: was not restored"},
		"more":    {changed(2, func(r *cyrus.Record) { r.UID = 3 }), "user.anne uid 3: was restored twice"},
		"mailbox": {func(ctx context.Context, c *client.Client) error {
			return c.ApplyUnmailbox(ctx, "user.backup-drill.a/b")
		}, "user.anne.a/b: was not restored"},
	} {
		t.Run(name, func(t *testing.T) {
			b, p, x := world(t), new(problems), newTarget(t, "b1")
			account(t, b)
			d := &inServer{drill: &drill{Options: p.into(x.Server), out: new(Result)}}
			restoreAndCompare(t, b, d.drill, d, func() { x.do(test.change) })
			p.check(t, d.drill, test.want)
		})
	}
}

// A checksum that differs although no message does is found: the server may store something else.
func TestCRCOfServer(t *testing.T) {
	p := new(problems)
	d := &inServer{drill: &drill{Options: p.options(""), out: new(Result)}}
	crc := cyrus.CRC{Basic: 5, Annot: 7, AnnotPadded: 7}
	x := &comparing{inServer: d, f: &restore.Folder{From: &history.MailboxState{Name: "user.anne", CRC: crc}}, want: crc}
	x.compareCRCs(5, 7)
	if len(p.list) > 0 {
		t.Error(p.list)
	}
	x.compareCRCs(0, 7)
	x.compareCRCs(5, 8)
	if len(p.list) != 2 {
		t.Error(p.list)
	}
	x.more = true // annotations of the server's own
	if x.compareCRCs(5, 8); len(p.list) != 2 {
		t.Error(p.list)
	}
	x.want.Basic = 6 // a record has got lost on its way out of the backup
	if x.compareCRCs(6, 7); len(p.list) != 3 || !strings.Contains(p.list[2], "the CRC of the server is 6, that of the backup 5") {
		t.Error(p.list)
	}
}

// A user of the scratch user's name whom no drill has made is refused, and stays unchanged.
func TestForeignUserIsRefused(t *testing.T) {
	b := world(t)
	for name, boxes := range map[string]map[string]string{
		"inbox":  {"user.backup-drill": "0123456789abcdef01234567"},
		"folder": {"user.backup-drill.x": "0123456789abcdef01234567"},
		"mixed":  {"user.backup-drill": newMarks("b1").next(time.Now()), "user.backup-drill.x": "0123456789abcdef01234567"},
		"other":  {"user.backup-drill": newMarks("b2").next(time.Now())},
		// Cyrus makes such mailboxes by itself, and somebody has used this one.
		"calendar": {"user.backup-drill": newMarks("b1").next(time.Now()), "user.backup-drill.#calendars.Default": "0123456789abcdef01234567"},
	} {
		p, x := new(problems), newTarget(t, "b1")
		for box, id := range boxes {
			x.give(box, id)
		}
		before := x.has(ScratchUser)
		_, err := Run(t.Context(), b.Found(), p.into(x.Server))
		if !errors.Is(err, ErrForeign) || x.has(ScratchUser) != before {
			t.Errorf("%s: %v; was\n%s\nis\n%s", name, err, before, x.has(ScratchUser))
		}
	}
}

// The data of a user without a mailbox are somebody's, too. GET USER does not show them.
func TestForeignDataAreRefused(t *testing.T) {
	b := world(t)
	for name, give := range map[string]func(context.Context, *client.Client) error{
		"sub": func(ctx context.Context, c *client.Client) error { return c.ApplySub(ctx, ScratchUser, "user.anne") },
		"script": func(ctx context.Context, c *client.Client) error {
			return c.ApplySieve(ctx, cyrus.Sieve{UserID: ScratchUser, Filename: "x.script", LastUpdate: 1, Content: "keep;"})
		},
		"quota": func(ctx context.Context, c *client.Client) error {
			return c.ApplyQuota(ctx, cyrus.Quota{Root: scratchInbox, Fields: []dlist.Pair{dlist.P("ROOT", dlist.S(scratchInbox)), dlist.P("LIMIT", dlist.N(5))}})
		},
	} {
		x := newTarget(t, "b1")
		x.do(give)
		before := x.has(ScratchUser)
		_, err := Run(t.Context(), b.Found(), new(problems).into(x.Server))
		if !errors.Is(err, ErrForeign) || x.has(ScratchUser) != before || before == "" {
			t.Errorf("%s: %v; was\n%s\nis\n%s", name, err, before, x.has(ScratchUser))
		}
	}
}

// A server that does not remove everything is reported.
func TestLeftDataAreReported(t *testing.T) {
	b, x := world(t), newTarget(t, "b1")
	x.breaks(func(_ int, what string) string {
		if what == "APPLY UNUSER" {
			x.breaking = nil
			x.mu.Unlock()
			defer x.mu.Lock()
			x.do(func(ctx context.Context, c *client.Client) error { return c.ApplySub(ctx, ScratchUser, "club") })
		}
		return ""
	})
	out, err := Run(t.Context(), b.Found(), new(problems).into(x.Server))
	if err != nil || out.Problems > 0 || out.Left == nil || !strings.Contains(out.Left.Error(), "has not removed all") {
		t.Errorf("%+v, %v", out, err)
	}
}

// A real user of this name was deleted. The mailboxes stay until cyr_expire removes them.
func TestDeletedUserIsNoHindrance(t *testing.T) {
	b, x := world(t), newTarget(t, "b1")
	x.give("DELETED.user.backup-drill.6A0E6F00", "0123456789abcdef01234567")
	before := x.has(ScratchUser)
	out, err := Run(t.Context(), b.Found(), new(problems).into(x.Server))
	if err != nil || out.Left != nil || out.Problems > 0 || out.Messages != 4 || x.has(ScratchUser) != before || before == "" {
		t.Errorf("%+v, %v; was\n%s\nis\n%s", out, err, before, x.has(ScratchUser))
	}
}

// What drills have left is removed: at once if it was this host, after a day if it was another one.
func TestLeftoversOfDrills(t *testing.T) {
	day := time.Now().Add(-elsewhere - time.Minute)
	for name, id := range map[string]string{"here": newMarks("b1").next(time.Now()), "elsewhere": newMarks("b2").next(day)} {
		x := newTarget(t, "b1")
		x.give("user.backup-drill", id)
		x.give("user.backup-drill.#sieve", "0123456789abcdef01234567") // as Cyrus makes it, with the scripts
		if err := x.Clear(t.Context(), time.Now()); err != nil || x.has(ScratchUser) != "" {
			t.Errorf("%s: %v, left %s", name, err, x.has(ScratchUser))
		}
	}
}

// Somebody creates a user of this name after the drill has looked: the drill stores nothing there.
func TestForeignUserAppears(t *testing.T) {
	b, p, x := world(t), new(problems), newTarget(t, "b1")
	o := p.into(x.Server)
	d := &inServer{drill: &drill{Options: o, out: new(Result)}}
	end, err := d.load(t.Context(), b.Found())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = end() }()
	x.give("user.backup-drill", "0123456789abcdef01234567")
	before := x.has(ScratchUser)
	if err := d.restore(t.Context()); !errors.Is(err, ErrForeign) || x.has(ScratchUser) != before {
		t.Errorf("%v, %s", err, x.has(ScratchUser))
	}
}

// The n-th command fails, or its answer is lost with the connection. Nobody else's mail changes, no drill
// reports a success that it has not seen, and the next drill cleans up.
func TestEachCommandFails(t *testing.T) {
	b := world(t)
	account(t, b)
	for _, answer := range []string{fakeserver.Drop, "NO IMAP_SYNC_CHANGED not now"} {
		for n := 1; ; n++ {
			p, x := new(problems), newTarget(t, "b1")
			x.give("user.anne", b.Boxes[0].UniqueID)
			before, failed := x.has("anne"), ""
			x.breaks(func(i int, what string) string {
				if i != n {
					return ""
				}
				failed = what
				return answer
			})
			out, err := Run(t.Context(), b.Found(), p.into(x.Server))
			x.breaks(nil)
			if failed == "" {
				if err != nil || out.Problems > 0 {
					t.Errorf("nothing failed: %v, %q", err, p.list)
				}
				break
			}
			if err == nil && out.Problems == 0 && out.Messages != 4 {
				t.Errorf("%s %d (%s): ok with %d messages", answer, n, failed, out.Messages)
			}
			if x.has("anne") != before {
				t.Errorf("%s %d (%s): the mail of anne has changed", answer, n, failed)
			}
			if _, err := Run(t.Context(), b.Found(), new(problems).into(x.Server)); err != nil || x.has(ScratchUser) != "" {
				t.Errorf("%s %d (%s): the next drill: %v, left %s", answer, n, failed, err, x.has(ScratchUser))
			}
		}
	}
}

// A drill that is interrupted removes its user.
func TestInterruptedDrillRemovesItsUser(t *testing.T) {
	b, x := world(t), newTarget(t, "b1")
	ctx, cancel := context.WithCancel(t.Context())
	x.breaks(func(_ int, what string) string {
		if what == "APPLY MAILBOX" {
			cancel()
		}
		return ""
	})
	if _, err := Run(ctx, b.Found(), new(problems).into(x.Server)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	x.breaks(nil)
	if left := x.has(ScratchUser); left != "" {
		t.Error(left)
	}
}

// Mailboxes that no user owns are restored below the INBOX.
func TestDrillOfSharedMailboxes(t *testing.T) {
	d := &inServer{drill: &drill{}}
	for of, want := range map[string]string{"club": "user.backup-drill.club", "example.org!club.x": "user.backup-drill.club.x"} {
		if got := d.name(of); got != want {
			t.Errorf("%s becomes %s", of, got)
		}
	}
	d.DefaultDomain, d.owner = "internal", "anne@example.org"
	for of, want := range map[string]string{"example.org!user.anne": "user.backup-drill", "example.org!user.anne.x": "user.backup-drill.x",
		"example.org!user.annette": "user.backup-drill.user.annette"} {
		if got := d.name(of); got != want {
			t.Errorf("%s becomes %s", of, got)
		}
	}
}

// Two drills of one host do not use a server at the same time.
func TestLock(t *testing.T) {
	x := NewServer(t.TempDir(), "b1", nil) // a name that no other process has
	release, err := x.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Lock(); err == nil || !strings.Contains(err.Error(), "another drill") {
		t.Error(err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	if release, err = x.Lock(); err != nil {
		t.Fatal(err)
	}
	_ = release()
}

// Marks are unique, and tell the host and the time.
func TestMarks(t *testing.T) {
	now, seen := time.Unix(1796041689, 0), map[string]bool{}
	m := newMarks("b1")
	for range 1000 {
		id := m.next(now)
		host, at, ok := ours(id)
		if !ok || host != m.host || !at.Equal(now) || seen[id] {
			t.Fatal(id, host, at, ok)
		}
		seen[id] = true
	}
	for _, id := range []string{"", "0123456789abcdef01234567", "6472696c-6c21-8", "6472696c-6c21-4001-8001-0123456789ab", newUUID} {
		if _, _, ok := ours(id); ok {
			t.Error(id)
		}
	}
}

// newUUID is a uniqueid of Cyrus.
const newUUID = "2f1c6a52-8a0e-4b7e-9c5a-0b7c1c7e8d01"
